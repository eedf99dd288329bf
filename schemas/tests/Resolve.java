// What Avro's own Java reads of a writer's data with a reader's schema, as that schema writes it: `ok HEX`, or `no` and why.
//
// One case a line on stdin: {"writer": SCHEMA, "reader": SCHEMA, "data": HEX}.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

class Resolve {
  public static void main(String[] args) throws Exception {
    var json = new ObjectMapper();
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = lines.readLine()) != null; ) {
      JsonNode read = json.readTree(line);
      String answer;
      try {
        Schema writer = new Schema.Parser().parse(read.get("writer").toString());
        Schema reader = new Schema.Parser().parse(read.get("reader").toString());
        byte[] data = HexFormat.of().parseHex(read.get("data").asText());
        var record = new GenericDatumReader<Object>(writer, reader)
            .read(null, DecoderFactory.get().binaryDecoder(data, null));
        var out = new ByteArrayOutputStream();
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<Object>(reader).write(record, encoder);
        encoder.flush();
        answer = "ok " + HexFormat.of().formatHex(out.toByteArray());
      } catch (Exception error) {
        answer = "no " + error.toString().replace('\n', ' ');
      }
      System.out.println(answer);
    }
  }
}
