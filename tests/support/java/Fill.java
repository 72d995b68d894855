// Fills a topic with JSON of a given size, the same bytes each time, in batches as Java's producer makes them by
// default: BROKERS TOPIC PARTITIONS COUNT SIZE CODEC.

import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Fill {
    static final String[] WORDS = ("order customer invoice shipped pending warehouse berlin lisbon oslo quantity "
        + "price discount currency euro carrier parcel return refund address street").split(" ");

    public static void main(String[] args) throws Exception {
        int partitions = Integer.parseInt(args[2]), count = Integer.parseInt(args[3]), size = Integer.parseInt(args[4]);
        Map<String, Object> config = Map.of("bootstrap.servers", args[0], "compression.type", args[5], "acks", "all",
            "linger.ms", "50", "buffer.memory", "33554432");
        var serializer = new ByteArraySerializer();
        var random = new Random(42);
        try (var producer = new KafkaProducer<byte[], byte[]>(config, serializer, serializer)) {
            for (int n = 0; n < count; n++) {
                var text = new StringBuilder("{\"id\":" + n + ",\"amount\":" + random.nextInt(100000) + ",\"text\":\"");
                while (text.length() < size - 2) text.append(WORDS[random.nextInt(WORDS.length)]).append(' ');
                text.setLength(size - 2);
                var value = text.append("\"}").toString().getBytes(StandardCharsets.UTF_8);
                producer.send(new ProducerRecord<>(args[1], n % partitions, 1_600_000_000_000L + n, null, value));
            }
        }
        System.out.println("done");
    }
}
