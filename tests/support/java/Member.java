// A consumer in a group: BROKERS GROUP TOPIC ASSIGNOR INSTANCE (- for none) CLIENT-ID.
// Prints "assigned P...", "revoked P...", "lost P...", "left" and "record P OFFSET VALUE".
// "leave" on its input makes it leave the group, "rest" makes it poll no more until "work", while its heartbeats go on;
// the end of its input ends it at once. With the ASSIGNOR "consumer" the broker assigns (KIP-848).

import java.time.Duration;
import java.util.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Member {
    static volatile boolean leaving;
    static volatile boolean resting;

    public static void main(String[] args) throws Exception {
        Class<?> assignor = switch (args[3]) {
            case "consumer" -> null;
            case "range" -> RangeAssignor.class;
            case "roundrobin" -> RoundRobinAssignor.class;
            case "cooperative-sticky" -> CooperativeStickyAssignor.class;
            default -> throw new IllegalArgumentException(args[3]);
        };
        var config = new HashMap<String, Object>(Map.of("bootstrap.servers", args[0], "group.id", args[1],
            "client.id", args[5], "auto.offset.reset", "earliest"));
        if (assignor == null) {
            config.put("group.protocol", "consumer");
        } else {
            config.putAll(Map.of("session.timeout.ms", "6000", "heartbeat.interval.ms", "500",
                "partition.assignment.strategy", assignor.getName()));
        }
        if (!args[4].equals("-")) config.put("group.instance.id", args[4]);
        var deserializer = new StringDeserializer();
        listen();
        try (var consumer = new KafkaConsumer<String, String>(config, deserializer, deserializer)) {
            consumer.subscribe(List.of(args[2].split(",")), new Events());
            while (!leaving) {
                while (resting && !leaving) Thread.sleep(10);
                for (var record : consumer.poll(Duration.ofMillis(50))) {
                    System.out.println("record " + record.topic() + "-" + record.partition() + " " + record.offset()
                        + " " + record.value());
                }
            }
        } catch (Exception e) {
            System.out.println("error " + e);
        }
        System.out.println("left");
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    static class Events implements ConsumerRebalanceListener {
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) { say("assigned", partitions); }
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) { say("revoked", partitions); }
        public void onPartitionsLost(Collection<TopicPartition> partitions) { say("lost", partitions); }

        static void say(String event, Collection<TopicPartition> partitions) {
            System.out.println(event + " " + partitions.stream().map(TopicPartition::toString).sorted()
                .collect(Collectors.joining(" ")));
        }
    }

    static void listen() {
        var thread = new Thread(() -> {
            var in = new Scanner(System.in);
            while (in.hasNextLine()) {
                var line = in.nextLine();
                if (line.equals("leave")) leaving = true;
                if (line.equals("rest")) resting = true;
                if (line.equals("work")) resting = false;
            }
            if (!leaving) Runtime.getRuntime().halt(1);
        });
        thread.setDaemon(true);
        thread.start();
    }
}
