// An admin client that answers each line of its input with one line: "ok ..." or "error ...".

import java.util.*;
import java.util.stream.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;

public class Admin {
    static org.apache.kafka.clients.admin.Admin admin;

    public static void main(String[] args) throws Exception {
        admin = org.apache.kafka.clients.admin.Admin.create(Map.of(
            "bootstrap.servers", args[0], "reconnect.backoff.max.ms", "200",
            "request.timeout.ms", "5000", "default.api.timeout.ms", "15000"));
        System.out.println("ready");
        var in = new Scanner(System.in);
        while (in.hasNextLine()) {
            var words = in.nextLine().trim().split(" +");
            try {
                System.out.println("ok " + answer(words));
            } catch (Exception e) {
                var cause = e.getCause() == null ? e : e.getCause();
                System.out.println("error " + String.valueOf(cause).replace('\n', ' '));
            }
        }
        Runtime.getRuntime().halt(0);
    }

    static String answer(String[] w) throws Exception {
        return switch (w[0]) {
            case "create" -> create(w);
            case "delete" -> delete(w[1]);
            case "grow" -> done(admin.createPartitions(
                Map.of(w[1], NewPartitions.increaseTo(Integer.parseInt(w[2])))).all());
            case "cut" -> done(admin.deleteRecords(Map.of(partition(w[1], w[2]),
                RecordsToDelete.beforeOffset(Long.parseLong(w[3])))).all());
            case "set" -> set(w[1], w[2].split("=", 2));
            case "leaders" -> each(w[1], p -> p.leader() == null ? -1 : p.leader().id());
            case "in-sync" -> each(w[1], p -> p.isr().size());
            case "lead" -> lead(w[1], w[2], Integer.parseInt(w[3]));
            case "nodes" -> admin.describeCluster().nodes().get().stream().map(n -> "" + n.id()).sorted()
                .collect(Collectors.joining(" "));
            case "coordinator" -> "" + describe(w[1]).coordinator().id();
            case "group" -> group(describe(w[1]));
            case "committed" -> admin.listConsumerGroupOffsets(w[1]).partitionsToOffsetAndMetadata().get()
                .entrySet().stream().filter(e -> e.getValue() != null)
                .map(e -> e.getKey() + "=" + e.getValue().offset()).sorted().collect(Collectors.joining(" "));
            case "commit" -> done(admin.alterConsumerGroupOffsets(w[1],
                Map.of(partition(w[2], w[3]), new OffsetAndMetadata(Long.parseLong(w[4])))).all());
            case "starts" -> offsets(w[1], OffsetSpec.earliest());
            case "ends" -> offsets(w[1], OffsetSpec.latest());
            default -> throw new IllegalArgumentException("no command " + w[0]);
        };
    }

    static String create(String[] w) throws Exception {
        var topic = new NewTopic(w[1], Integer.parseInt(w[2]), Short.parseShort(w[3]));
        topic.configs(Arrays.stream(w).skip(4).map(s -> s.split("=", 2))
            .collect(Collectors.toMap(s -> s[0], s -> s[1])));
        admin.createTopics(List.of(topic)).all().get();
        var partitions = Integer.parseInt(w[2]);
        return until(() -> topic(w[1]).partitions().stream().filter(p -> p.leader() != null).count() == partitions);
    }

    static String delete(String topic) throws Exception {
        admin.deleteTopics(List.of(topic)).all().get();
        return until(() -> !admin.listTopics().names().get().contains(topic));
    }

    static String set(String topic, String[] setting) throws Exception {
        var op = new AlterConfigOp(new ConfigEntry(setting[0], setting[1]), AlterConfigOp.OpType.SET);
        return done(admin.incrementalAlterConfigs(
            Map.of(new ConfigResource(ConfigResource.Type.TOPIC, topic), List.of(op))).all());
    }

    // Puts the node first among the replicas, and elects the first.
    static String lead(String topic, String number, int node) throws Exception {
        var partition = partition(topic, number);
        var now = topic(topic).partitions().get(partition.partition());
        var replicas = new ArrayList<>(now.replicas().stream().map(Node::id).toList());
        if (!replicas.remove(Integer.valueOf(node))) throw new IllegalStateException("no replica " + node);
        replicas.add(0, node);
        admin.alterPartitionReassignments(
            Map.of(partition, Optional.of(new NewPartitionReassignment(replicas)))).all().get();
        until(() -> admin.listPartitionReassignments(Set.of(partition)).reassignments().get().isEmpty());
        try {
            admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).all().get();
        } catch (java.util.concurrent.ExecutionException e) {
            if (!(e.getCause() instanceof org.apache.kafka.common.errors.ElectionNotNeededException)) throw e;
        }
        return "";
    }

    static ConsumerGroupDescription describe(String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
    }

    static String group(ConsumerGroupDescription group) {
        var members = group.members().stream().map(m -> String.join("|", m.consumerId(), m.clientId(),
            m.groupInstanceId().orElse(""), m.assignment().topicPartitions().stream().map(TopicPartition::toString)
                .sorted().collect(Collectors.joining(","))).replace(' ', '_'));
        return group.state() + " " + members.sorted().collect(Collectors.joining(" "));
    }

    static TopicDescription topic(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    static String each(String topic, java.util.function.Function<TopicPartitionInfo, Object> what) throws Exception {
        return topic(topic).partitions().stream().map(p -> p.partition() + "=" + what.apply(p))
            .collect(Collectors.joining(" "));
    }

    static String offsets(String topic, OffsetSpec spec) throws Exception {
        var all = topic(topic).partitions().stream()
            .collect(Collectors.toMap(p -> new TopicPartition(topic, p.partition()), p -> spec));
        return admin.listOffsets(all).all().get().entrySet().stream()
            .map(e -> e.getKey().partition() + "=" + e.getValue().offset()).sorted().collect(Collectors.joining(" "));
    }

    static TopicPartition partition(String topic, String number) {
        return new TopicPartition(topic, Integer.parseInt(number));
    }

    static String done(KafkaFuture<?> future) throws Exception {
        future.get();
        return "";
    }

    interface Condition { boolean holds() throws Exception; }

    static String until(Condition condition) throws Exception {
        for (int look = 0; look < 300; look++) {
            try {
                if (condition.holds()) return "";
            } catch (java.util.concurrent.ExecutionException e) {
                // Not known yet on the broker that was asked.
            }
            Thread.sleep(50);
        }
        throw new IllegalStateException("never came about");
    }
}
