// Writes the records that its input names, with acks=all, through any failure of brokers: "write LIFE TOPIC PARTITION
// NUMBER". Each life has a producer of its own. "flush LIFE" waits until all of it is acknowledged and says "flushed
// LIFE", "drop LIFE" gives up what isn't and says "dropped LIFE", "stop" flushes all and says "done"; the end of the
// input ends it at once. Prints "acked TOPIC PARTITION OFFSET NUMBER" for each.

import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

public class Writer {
    // A thread for each life: one that waits for metadata holds back no other.
    record Life(KafkaProducer<String, String> producer, ExecutorService thread) {}

    static final Map<String, Life> lives = new LinkedHashMap<>();

    public static void main(String[] args) throws Exception {
        var in = new Scanner(System.in);
        System.out.println("ready");
        while (in.hasNextLine()) {
            var w = in.nextLine().split(" ");
            switch (w[0]) {
                case "write" -> {
                    var life = lives.computeIfAbsent(w[1], name -> live(args[0]));
                    life.thread.execute(() -> send(life.producer, w[2], Integer.parseInt(w[3]), w[4]));
                }
                case "flush" -> {
                    flush(lives.get(w[1]));
                    System.out.println("flushed " + w[1]);
                }
                case "drop" -> {
                    var life = lives.remove(w[1]);
                    if (life != null) {
                        life.thread.shutdownNow();
                        life.producer.close(Duration.ZERO);
                    }
                    System.out.println("dropped " + w[1]);
                }
                case "stop" -> {
                    for (var life : lives.values()) flush(life);
                    System.out.println("done");
                }
                default -> throw new IllegalArgumentException(w[0]);
            }
        }
        Runtime.getRuntime().halt(0);
    }

    static Life live(String brokers) {
        Map<String, Object> config = Map.of("bootstrap.servers", brokers, "acks", "all", "enable.idempotence", "false",
            "delivery.timeout.ms", "1000000000", "max.block.ms", "1000000000", "request.timeout.ms", "3000",
            "reconnect.backoff.max.ms", "200", "linger.ms", "2");
        var serializer = new StringSerializer();
        return new Life(new KafkaProducer<>(config, serializer, serializer), Executors.newSingleThreadExecutor());
    }

    static void send(KafkaProducer<String, String> producer, String topic, int partition, String number) {
        try {
            producer.send(new ProducerRecord<>(topic, partition, null, number), (place, error) -> {
                if (error == null) {
                    System.out.println("acked " + topic + " " + place.partition() + " " + place.offset() + " " + number);
                }
            });
        } catch (RuntimeException e) {
            // The life was dropped.
        }
    }

    static void flush(Life life) throws Exception {
        if (life == null) return;
        life.thread.submit(() -> {}).get();
        life.producer.flush();
    }
}
