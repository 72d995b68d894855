// Writes numbered records with acks=all, so many a second, through any failure of brokers, until its input says
// "stop" (or ends: then at once). Prints "acked PARTITION OFFSET NUMBER" for each, and "done SENT" in the end.

import java.util.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

public class Producer {
    static volatile boolean stopped;

    public static void main(String[] args) throws Exception {
        var topic = args[1];
        int partitions = Integer.parseInt(args[2]);
        long rate = Long.parseLong(args[3]);
        Map<String, Object> config = Map.of("bootstrap.servers", args[0], "acks", "all", "enable.idempotence", "true",
            "delivery.timeout.ms", "1000000000", "max.block.ms", "1000000000", "request.timeout.ms", "3000",
            "reconnect.backoff.max.ms", "200", "linger.ms", "2", "compression.type", args.length > 4 ? args[4] : "none");
        var serializer = new StringSerializer();
        var producer = new KafkaProducer<String, String>(config, serializer, serializer);
        listen();
        long begun = System.nanoTime(), number = 0;
        while (!stopped) {
            long due = (System.nanoTime() - begun) * rate / 1_000_000_000L;
            for (; number < due && !stopped; number++) {
                long n = number;
                int partition = (int) (n % partitions);
                String key = "key-" + n % (partitions * 8L);
                producer.send(new ProducerRecord<>(topic, partition, key, "" + n), (metadata, error) -> {
                    var place = error == null ? metadata.partition() + " " + metadata.offset() : "";
                    System.out.println(error == null ? "acked " + place + " " + n : "failed " + n + " " + error);
                });
            }
            Thread.sleep(2);
        }
        producer.close();
        System.out.println("done " + number);
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    static void listen() {
        var thread = new Thread(() -> {
            var in = new Scanner(System.in);
            while (in.hasNextLine()) {
                if (in.nextLine().equals("stop")) stopped = true;
            }
            if (!stopped) Runtime.getRuntime().halt(1);
        });
        thread.setDaemon(true);
        thread.start();
    }
}
