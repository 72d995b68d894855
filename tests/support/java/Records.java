// Produces what its input says, a record a line, parts between tabs:
// partition, timestamp (- for now), key, value (\N for none), headers (name=value, or name alone for a null value).
// The line "flush" ends a batch. Prints the offset of each record once all are acknowledged.

import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Records {
    public static void main(String[] args) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", args[0], "compression.type", args[2], "acks", "all",
            "linger.ms", "10000", "batch.size", "1000000");
        var serializer = new ByteArraySerializer();
        try (var producer = new KafkaProducer<byte[], byte[]>(config, serializer, serializer)) {
            var sent = new ArrayList<Future<RecordMetadata>>();
            var in = new Scanner(System.in, StandardCharsets.UTF_8);
            while (in.hasNextLine()) {
                var line = in.nextLine();
                if (line.equals("flush")) producer.flush();
                else sent.add(producer.send(record(args[1], line.split("\t", -1))));
            }
            producer.flush();
            for (var one : sent) System.out.println("offset " + one.get().partition() + " " + one.get().offset());
        } catch (Exception e) {
            System.out.println("error " + e);
            System.exit(1);
        }
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
