/* Counts the records of a topic by librdkafka at its quickest, batch by batch: BROKERS TOPIC PARTITIONS COUNT. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 10000, WAIT_MS = 100, MOST_WAITS = 100 };

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[512];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
}

int main(int argc, char **argv) {
    char error[512];
    if (argc != 5) return 2;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", argv[1]);
    if (getenv("CHECK_CRCS")) set(conf, "check.crcs", "true");
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
    if (!rk) return 1;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, argv[2], NULL);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    for (int p = 0; p < atoi(argv[3]); p++)
        if (rd_kafka_consume_start_queue(topic, p, RD_KAFKA_OFFSET_BEGINNING, queue) == -1) return 1;
    static rd_kafka_message_t *batch[BATCH];
    long count = atol(argv[4]), got = 0, bytes = 0, waits = 0;
    while (got < count) {
        ssize_t n = rd_kafka_consume_batch_queue(queue, WAIT_MS, batch, BATCH);
        if (n < 0 || (n == 0 && ++waits == MOST_WAITS)) return 1;
        for (ssize_t i = 0; i < n; i++) {
            if (!batch[i]->err) {
                if (got++ == 0) { puts("first"); fflush(stdout); }
                bytes += batch[i]->len;
            }
            rd_kafka_message_destroy(batch[i]);
        }
    }
    printf("bytes %ld\n", bytes);
    puts("last");
    fflush(stdout);
    _Exit(0);
}
