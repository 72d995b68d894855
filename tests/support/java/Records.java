// Produces what its input says, a record a line, parts between tabs:
// partition, timestamp (- for now), key, value (\N for none), headers (name=value, or name alone for a null value).
// The line "to TOPIC CODEC" goes before them, "flush" ends a batch, and "end" has the place of each record printed
// once all are acknowledged, and then "ended".

import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Records {
    static final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();

    public static void main(String[] args) throws Exception {
        String topic = null, codec = "none";
        var sent = new ArrayList<Future<RecordMetadata>>();
        var in = new Scanner(System.in, StandardCharsets.UTF_8);
        while (in.hasNextLine()) {
            var line = in.nextLine();
            try {
                if (line.startsWith("to ")) {
                    topic = line.split(" ")[1];
                    codec = line.split(" ")[2];
                } else if (line.equals("flush")) {
                    producer(args[0], codec).flush();
                } else if (line.equals("end")) {
                    producer(args[0], codec).flush();
                    for (var one : sent) {
                        System.out.println("offset " + one.get().partition() + " " + one.get().offset());
                    }
                    sent.clear();
                    System.out.println("ended");
                } else {
                    sent.add(producer(args[0], codec).send(record(topic, line.split("\t", -1))));
                }
            } catch (Exception e) {
                System.out.println("error " + e);
            }
        }
        Runtime.getRuntime().halt(0);
    }

    static KafkaProducer<byte[], byte[]> producer(String brokers, String codec) {
        return producers.computeIfAbsent(codec, c -> {
            Map<String, Object> config = Map.of("bootstrap.servers", brokers, "compression.type", c, "acks", "all",
                "linger.ms", "10000", "batch.size", "1000000", "metadata.max.age.ms", "1000");
            var serializer = new ByteArraySerializer();
            return new KafkaProducer<>(config, serializer, serializer);
        });
    }

    static ProducerRecord<byte[], byte[]> record(String topic, String[] parts) {
        var headers = new RecordHeaders();
        for (int i = 4; i < parts.length; i++) {
            var pair = parts[i].split("=", 2);
            headers.add(pair[0], pair.length > 1 ? bytes(pair[1]) : null);
        }
        Long timestamp = parts[1].equals("-") ? null : Long.valueOf(parts[1]);
        return new ProducerRecord<>(topic, Integer.valueOf(parts[0]), timestamp, bytes(parts[2]), bytes(parts[3]),
            headers);
    }

    static byte[] bytes(String text) {
        return text.equals("\\N") ? null : text.getBytes(StandardCharsets.UTF_8);
    }
}
