"""Reads a topic, or writes likes to one, as Python programs do: confluent-kafka with its Avro (de)serialisers.

clients.py read BROKERS REGISTRY TOPIC COUNT    each record's key, partition and fields as a line of JSON
clients.py write BROKERS REGISTRY TOPIC SCHEMA  likes, given as lines of JSON, by the schema in that file; prints partitions
"""

import json
import sys
import uuid
from datetime import datetime, timezone

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def read(brokers, registry, topic, count):
    deserialise = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": f"python-{uuid.uuid4()}", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    for _ in range(int(count)):
        message = consumer.poll(60)
        if message is None or message.error():
            sys.exit(f"no record: {message and message.error()}")
        fields = deserialise(message.value(), SerializationContext(topic, MessageField.VALUE))
        print(json.dumps({"key": message.key().decode(), "partition": message.partition(), "fields": fields}, default=str))
    consumer.close()


def write(brokers, registry, topic, schema):
    with open(schema) as file:
        serialise = AvroSerializer(SchemaRegistryClient({"url": registry}), file.read())
    # as Java's clients place keys, and not by librdkafka's default
    producer = Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random"})

    def delivered(error, message):
        if error:
            sys.exit(f"not delivered: {error}")
        print(json.dumps({"key": message.key().decode(), "partition": message.partition()}))

    for line in sys.stdin:
        like = json.loads(line)
        for time in ("acceptedAt", "occurredAt"):
            like[time] = datetime.fromtimestamp(like[time] / 1_000_000, timezone.utc)
        like["eventId"] = uuid.UUID(like["eventId"])
        key = f"{like['targetOcid']}\x1f{like['likerAccountId']}"
        value = serialise(like, SerializationContext(topic, MessageField.VALUE))
        producer.produce(topic, value, key.encode(), on_delivery=delivered)
    producer.flush(60)


{"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
