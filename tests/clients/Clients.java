import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes likes to a topic as Java programs do: Kafka's producer with Apicurio's Avro serialiser.
 *
 * <p>write BROKERS REGISTRY TOPIC SCHEMA: likes, given as lines of their fields' texts with tabs between, by the schema in that file; prints
 * their keys and partitions as lines of JSON.
 */
public class Clients {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args[1]);
        config.put("apicurio.registry.url", args[2]);
        write(config, args[3], new Schema.Parser().parse(Files.readString(Path.of(args[4]))));
    }

    static String quoted(String text) {
        return '"' + text.replace("\u001f", "\\u001f") + '"';
    }

    static void write(Map<String, Object> config, String topic, Schema schema) throws Exception {
        config.put("key.serializer", StringSerializer.class);
        config.put("value.serializer", AvroKafkaSerializer.class);
        config.put("apicurio.registry.auto-register", true);
        config.put("apicurio.registry.auto-register.if-exists", "FIND_OR_CREATE_VERSION");
        var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (var producer = new KafkaProducer<String, GenericRecord>(config)) {
            for (String line; (line = lines.readLine()) != null; ) {
                String[] texts = line.split("\t", -1);
                GenericRecord like = new GenericData.Record(schema);
                for (var field : schema.getFields()) {
                    String text = texts[field.pos()];
                    Schema of = field.schema();
                    like.put(field.pos(), switch (of.getType()) {
                        case LONG -> (Object) Long.parseLong(text);
                        case ENUM -> new GenericData.EnumSymbol(of, text);
                        default -> text;
                    });
                }
                String key = texts[2] + "\u001f" + texts[3];
                var told = producer.send(new ProducerRecord<>(topic, key, like)).get();
                System.out.println("{\"key\": " + quoted(key) + ", \"partition\": " + told.partition() + "}");
            }
        }
    }
}
