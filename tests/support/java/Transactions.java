// Two transactional producers and a plain one write to the same partitions, interleaved: BROKERS TOPIC PARTITIONS
// ROUNDS CODEC. Prints "kept VALUE" for what a reader of committed records must see and "void VALUE" for the rest.
// With the word "open" as sixth argument one transaction is then left open, "opened" is printed, and the next word
// of the input, "commit" or "abort", ends it.

import java.util.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.StringSerializer;

public class Transactions {
    static String topic;
    static int partitions;

    public static void main(String[] args) throws Exception {
        topic = args[1];
        partitions = Integer.parseInt(args[2]);
        int rounds = Integer.parseInt(args[3]);
        var a = producer(args[0], args[4], topic + "-a");
        var b = producer(args[0], args[4], topic + "-b");
        var plain = producer(args[0], args[4], null);
        a.initTransactions();
        b.initTransactions();
        for (int round = 0; round < rounds; round++) {
            // All four combinations of commit and abort, nested and overlapping.
            boolean first = (round & 1) == 0, second = (round & 2) == 0;
            a.beginTransaction();
            write(a, "a" + round + "-1", first);
            write(plain, "p" + round + "-1", true);
            b.beginTransaction();
            write(b, "b" + round + "-1", second);
            write(a, "a" + round + "-2", first);
            write(plain, "p" + round + "-2", true);
            boolean nested = (round & 4) == 0;
            if (nested) end(b, second); else end(a, first);
            write(plain, "p" + round + "-3", true);
            write(nested ? a : b, (nested ? "a" : "b") + round + "-3", nested ? first : second);
            if (nested) end(a, first); else end(b, second);
        }
        // A transaction without a record, and one that ends the log with its marker.
        a.beginTransaction();
        a.abortTransaction();
        b.beginTransaction();
        write(b, "last", false);
        b.abortTransaction();
        if (args.length > 5) open(a, plain);
        System.out.println("done");
        a.close();
        b.close();
        plain.close();
    }

    static void open(KafkaProducer<String, String> a, KafkaProducer<String, String> plain) throws Exception {
        a.beginTransaction();
        for (int n = 0; n < 3; n++) send(a, "open-" + n);
        for (int n = 0; n < 3; n++) write(plain, "behind-" + n, true);
        System.out.println("opened");
        var word = new Scanner(System.in).next();
        end(a, word.equals("commit"));
        System.out.println("ended");
    }

    static void end(KafkaProducer<String, String> producer, boolean commit) {
        if (commit) producer.commitTransaction(); else producer.abortTransaction();
    }

    // Several records, so that a batch has some, to each partition.
    static void write(KafkaProducer<String, String> producer, String name, boolean kept) throws Exception {
        for (int n = 0; n < 3; n++) {
            send(producer, name + "-" + n);
            for (int p = 0; p < partitions; p++) {
                System.out.println((kept ? "kept " : "void ") + p + ":" + name + "-" + n);
            }
        }
    }

    static void send(KafkaProducer<String, String> producer, String name) throws Exception {
        for (int p = 0; p < partitions; p++) {
            producer.send(new ProducerRecord<>(topic, p, name, p + ":" + name));
        }
        producer.flush();
    }

    static KafkaProducer<String, String> producer(String brokers, String codec, String id) {
        var config = new HashMap<String, Object>(Map.of("bootstrap.servers", brokers, "acks", "all",
            "linger.ms", "5", "compression.type", codec));
        if (id != null) config.put("transactional.id", id);
        var serializer = new StringSerializer();
        return new KafkaProducer<>(config, serializer, serializer);
    }
}
