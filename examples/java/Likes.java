import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.message.BinaryMessageEncoder;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes likes straight to their topic, without HTTP: for services that have Kafka at hand anyway, at KAFKA_BROKERS. With a schema registry any of
 * Kafka's usual Avro serialisers does as well.
 */
public class Likes {
    /** With topics.prefix in front of it where that is set. */
    static final String TOPIC = "floodgate.like.v1";

    public static void main(String[] args) throws Exception {
        var schema = new Schema.Parser().parse(Files.readString(Path.of("like.avsc")));
        // Avro's single-object encoding: two bytes, the schema's fingerprint, the record
        var encoder = new BinaryMessageEncoder<GenericRecord>(new GenericData(), schema);

        Map<String, Object> config = Map.of(
                "bootstrap.servers", System.getenv().getOrDefault("KAFKA_BROKERS", "127.0.0.1:9092"),
                "key.serializer", StringSerializer.class,
                "value.serializer", ByteArraySerializer.class,
                // both are the default since Kafka 3; with less a record can be lost, or be in the log twice
                "acks", "all",
                "enable.idempotence", true,
                // how long a record may wait for its topic to be known, and how long it is tried to deliver
                "max.block.ms", 15_000,
                "delivery.timeout.ms", 60_000);

        var sent = new LinkedHashMap<String, Future<RecordMetadata>>();
        try (var producer = new KafkaProducer<String, byte[]>(config)) {
            // no broker or no topic: ends here, and not record by record
            producer.partitionsFor(TOPIC);
            for (int n = 0; n < 100; n++) {
                String target = "hero-" + n % 10, liker = "fan-" + n;
                // when it happened, which is not when it is written
                var occurredAt = Instant.parse("2026-01-02T03:04:05Z").plusMillis(n);
                var bytes = encoder.encode(like(schema, target, liker, occurredAt));
                var value = new byte[bytes.remaining()];
                bytes.get(value);
                // all that is said of one like goes through one partition, in order: this key, and the default partitioner
                String key = target + "\u001f" + liker;
                sent.put(target + " by " + liker, producer.send(new ProducerRecord<>(TOPIC, key, value)));
            }
        }

        // only what Kafka has acknowledged is written
        var failed = new ArrayList<String>();
        for (var like : sent.entrySet()) {
            try {
                like.getValue().get();
            } catch (ExecutionException error) {
                failed.add(like.getKey() + ": " + error.getCause().getMessage());
            }
        }
        System.out.println(sent.size() - failed.size() + " likes are in " + TOPIC);
        if (!failed.isEmpty()) {
            // running it again is safe: these are the same events then
            failed.forEach(System.err::println);
            System.exit(1);
        }
    }

    /** Nobody checks the fields before they are in the log: what breaks a rule of the API becomes a dead letter. */
    static GenericRecord like(Schema schema, String target, String liker, Instant occurredAt) {
        // made of what the like is, so that a second run writes the same events and not others
        var name = String.join("\u001f", target, liker, "LIKE", occurredAt.toString());
        return new GenericRecordBuilder(schema)
                .set("eventId", UUID.nameUUIDFromBytes(name.getBytes(StandardCharsets.UTF_8)).toString())
                .set("acceptedAt", micros(Instant.now()))
                .set("targetOcid", target)
                .set("likerAccountId", liker)
                .set("action", new GenericData.EnumSymbol(schema.getField("action").schema(), "LIKE"))
                .set("occurredAt", micros(occurredAt))
                .build();
    }

    static long micros(Instant time) {
        return ChronoUnit.MICROS.between(Instant.EPOCH, time);
    }
}
