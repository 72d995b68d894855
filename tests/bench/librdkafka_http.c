/* Posts the records of a topic by librdkafka and plain sockets: BROKERS TOPIC PARTITIONS COUNT PORT THREADS.
 * Each thread takes one record, writes one request and reads one answer: nothing is ordered, retried or committed.
 * Without arguments it says its version. */
#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WAIT_MS = 100, MOST_THREADS = 4096 };
static rd_kafka_queue_t *queue;
static atomic_long left;
static int port;

static void fail(const char *what) {
    perror(what);
    _Exit(1);
}

static void post(int fd, const rd_kafka_message_t *message) {
    char head[512], answer[8192];
    int length = snprintf(head, sizeof head,
        "POST /hook HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
        "webhook-id: %s-%d-%lld\r\nContent-Length: %zu\r\n\r\n",
        port, rd_kafka_topic_name(message->rkt), message->partition, (long long)message->offset, message->len);
    struct iovec parts[] = {{head, length}, {message->payload, message->len}};
    if (writev(fd, parts, 2) != (ssize_t)(length + message->len)) fail("writev");
    /* An answer to these requests is one small segment. */
    if (read(fd, answer, sizeof answer) < 12 || answer[9] != '2') fail("answer");
}

static void *work(void *unused) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    while (atomic_load(&left) > 0) {
        rd_kafka_message_t *message = rd_kafka_consume_queue(queue, WAIT_MS);
        if (!message) continue;
        if (!message->err) {
            post(fd, message);
            atomic_fetch_sub(&left, 1);
        }
        rd_kafka_message_destroy(message);
    }
    return unused;
}

int main(int argc, char **argv) {
    char error[512];
    if (argc != 7) {
        printf("librdkafka %s\n", rd_kafka_version_str());
        return 0;
    }
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", argv[1], error, sizeof error)) fail(error);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
    if (!rk) fail(error);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, argv[2], NULL);
    queue = rd_kafka_queue_new(rk);
    for (int p = 0; p < atoi(argv[3]); p++)
        if (rd_kafka_consume_start_queue(topic, p, RD_KAFKA_OFFSET_BEGINNING, queue)) fail("start");
    left = atol(argv[4]);
    port = atoi(argv[5]);
    int threads = atoi(argv[6]);
    static pthread_t ids[MOST_THREADS];
    for (int n = 0; n < threads; n++)
        if (pthread_create(&ids[n], NULL, work, NULL)) fail("thread");
    for (int n = 0; n < threads; n++) pthread_join(ids[n], NULL);
    _Exit(0);
}
