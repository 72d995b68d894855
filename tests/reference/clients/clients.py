"""Lets a Kafka client for Python do all that it can with a broker: clients.py CLIENT BROKER. Says nothing if all is well.

A topic is made, listed and described; records are produced idempotently and consumed in a group that commits; a second
consumer goes on from the commit; the group is listed and described; the topic is deleted.
"""

import asyncio
import sys
import time

TOPIC, GROUP, CONFIG = "topic-" + sys.argv[1], "group-" + sys.argv[1], ("retention.ms", "123456")
BROKER = sys.argv[2]
PARTITIONS, COUNT, PATIENCE = 3, 100, 30


def batch(round_):
    return [str(n) for n in range(round_ * COUNT, (round_ + 1) * COUNT)]


def same(what, is_, should):
    if is_ != should:
        sys.exit(f"{what}: {is_!r} and not {should!r}")


def read(poll):
    """Polls until a batch is complete; more than that would be records of before the commit."""
    values, deadline = [], time.monotonic() + PATIENCE
    while len(values) < COUNT and time.monotonic() < deadline:
        values += poll()
    return sorted(values, key=int)


def confluent():
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

    base = {"bootstrap.servers": BROKER}
    admin = AdminClient(base)
    done = lambda futures: [future.result(PATIENCE) for future in futures.values()]
    listed = lambda: TOPIC in admin.list_topics(timeout=PATIENCE).topics
    done(admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1, config=dict([CONFIG]))]))
    same("listed", listed(), True)
    [configs] = done(admin.describe_configs([ConfigResource("topic", TOPIC)]))
    same("config", configs[CONFIG[0]].value, CONFIG[1])
    for round_ in range(2):
        producer = Producer({**base, "enable.idempotence": True})
        for value in batch(round_):
            producer.produce(TOPIC, value, value)
        same("left", producer.flush(PATIENCE), 0)
        settings = {"group.id": GROUP, "auto.offset.reset": "earliest", "enable.auto.commit": False}
        consumer = Consumer({**base, **settings})
        consumer.subscribe([TOPIC])
        poll = lambda: [m.value().decode() for m in consumer.consume(COUNT, 0.1) if not m.error()]
        same("read", read(poll), batch(round_))
        if round_ == 0:
            [group] = done(admin.describe_consumer_groups([GROUP]))
            same("members", len(group.members), 1)
        consumer.commit(asynchronous=False)
        consumer.close()
    groups = admin.list_consumer_groups().result(PATIENCE).valid
    same("group", GROUP in [group.group_id for group in groups], True)
    done(admin.delete_topics([TOPIC]))
    same("listed", listed(), False)


def kafka_python():
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
    from kafka.admin import ConfigResource

    admin = KafkaAdminClient(bootstrap_servers=BROKER)
    listed = lambda: TOPIC in admin.list_topics()
    topic = {"num_partitions": PARTITIONS, "replication_factor": 1, "configs": dict([CONFIG])}
    admin.create_topics({TOPIC: topic})
    same("listed", listed(), True)
    configs = admin.describe_configs([ConfigResource("TOPIC", TOPIC)])
    same("config", configs["topic"][TOPIC][CONFIG[0]]["value"], CONFIG[1])
    for round_ in range(2):
        producer = KafkaProducer(bootstrap_servers=BROKER, enable_idempotence=True)
        sent = [producer.send(TOPIC, value.encode(), value.encode()) for value in batch(round_)]
        producer.flush(PATIENCE)
        same("sent", all(future.get(PATIENCE) for future in sent), True)
        producer.close()
        settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
        consumer = KafkaConsumer(TOPIC, bootstrap_servers=BROKER, group_id=GROUP, **settings)
        # With a shorter timeout it can lose sight of a join that is under way.
        poll = lambda: [m.value.decode() for ms in consumer.poll(5000).values() for m in ms]
        same("read", read(poll), batch(round_))
        if round_ == 0:
            same("members", len(admin.describe_groups([GROUP])[GROUP]["members"]), 1)
        consumer.commit()
        consumer.close()
    same("group", GROUP in [group["group_id"] for group in admin.list_groups()], True)
    admin.delete_topics([TOPIC])
    same("listed", listed(), False)


async def aio():
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
    from aiokafka.admin import AIOKafkaAdminClient, NewTopic
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    admin = AIOKafkaAdminClient(bootstrap_servers=BROKER)
    await admin.start()
    made = await admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1, topic_configs=dict([CONFIG]))])
    same("made", made.topic_errors[0][1], 0)
    same("listed", TOPIC in await admin.list_topics(), True)
    [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)])
    configs = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    same("config", configs[CONFIG[0]], CONFIG[1])
    for round_ in range(2):
        producer = AIOKafkaProducer(bootstrap_servers=BROKER, enable_idempotence=True)
        await producer.start()
        sent = [await producer.send(TOPIC, value.encode(), value.encode()) for value in batch(round_)]
        await asyncio.wait_for(asyncio.gather(*sent), PATIENCE)
        await producer.stop()
        settings = {"auto_offset_reset": "earliest", "enable_auto_commit": False}
        consumer = AIOKafkaConsumer(TOPIC, bootstrap_servers=BROKER, group_id=GROUP, **settings)
        await consumer.start()
        values, deadline = [], time.monotonic() + PATIENCE
        while len(values) < COUNT and time.monotonic() < deadline:
            polled = await consumer.getmany(timeout_ms=100)
            values += [m.value.decode() for ms in polled.values() for m in ms]
        same("read", sorted(values, key=int), batch(round_))
        if round_ == 0:
            [answer] = await admin.describe_consumer_groups([GROUP])
            same("members", len(answer.groups[0][5]), 1)
        await consumer.commit()
        await consumer.stop()
    same("group", GROUP in [group[0] for group in await admin.list_consumer_groups()], True)
    await admin.delete_topics([TOPIC])
    same("listed", TOPIC in await admin.list_topics(), False)
    await admin.close()


clients = {
    "confluent-kafka": confluent,
    "kafka-python": kafka_python,
    "aiokafka": lambda: asyncio.run(aio()),
}
clients[sys.argv[1]]()
