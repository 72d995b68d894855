// Prints each error of Kafka's: its number, its name, and whether it may be tried again.

import org.apache.kafka.common.errors.RetriableException;

public class Errors {
    public static void main(String[] args) {
        for (var error : org.apache.kafka.common.protocol.Errors.values()) {
            boolean retriable = error.exception() instanceof RetriableException;
            System.out.println(error.code() + " " + error.name() + " " + retriable);
        }
    }
}
