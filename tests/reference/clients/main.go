// Lets a Kafka client for Go do all that it can with a broker: main CLIENT BROKER [VERSION], the last being the release
// of Kafka that sarama is told it speaks to. Says nothing if all is well.
//
// A topic is made, listed and described; records are produced, idempotently where the client can, and consumed in a
// group that commits; a second consumer goes on from the commit; the group is listed and described; the topic is
// deleted.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 3
	count      = 100
	setting    = "retention.ms"
	value      = "123456"
	patience   = 60 * time.Second
	// For how long what a client knows of the cluster may be told again.
	fresh = 50 * time.Millisecond
)

var topic, group, broker string

func check(what string, err error) {
	if err != nil {
		fmt.Printf("%s: %v\n", what, err)
		os.Exit(1)
	}
}

func must[T any](result T, err error) T {
	check("it failed", err)
	return result
}

func same(what string, is, should any) {
	if fmt.Sprint(is) != fmt.Sprint(should) {
		check(what, fmt.Errorf("%v and not %v", is, should))
	}
}

func batch(round int) []string {
	var values []string
	for n := round * count; n < (round+1)*count; n++ {
		values = append(values, strconv.Itoa(n))
	}
	return values
}

// Compares what was read: more than the batch would be records of before the commit.
func sameBatch(values []string, round int) {
	slices.SortFunc(values, func(a, b string) int { return must(strconv.Atoi(a)) - must(strconv.Atoi(b)) })
	same("read", values, batch(round))
}

func franz(ctx context.Context) {
	// What it knows of the cluster it asks for again only after a while.
	admin := kadm.NewClient(must(kgo.NewClient(kgo.SeedBrokers(broker), kgo.MetadataMinAge(fresh))))
	defer admin.Close()
	text := value
	must(admin.CreateTopic(ctx, partitions, 1, map[string]*string{setting: &text}, topic))
	same("listed", must(admin.ListTopics(ctx)).Has(topic), true)
	for _, config := range must(must(admin.DescribeTopicConfigs(ctx, topic)).On(topic, nil)).Configs {
		if config.Key == setting {
			same("config", config.MaybeValue(), value)
		}
	}
	for round := range 2 {
		// Idempotent unless told otherwise.
		producer := must(kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic)))
		for _, value := range batch(round) {
			check("produced", producer.ProduceSync(ctx, kgo.KeySliceRecord([]byte(value), []byte(value))).FirstErr())
		}
		producer.Close()
		consumer := must(kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit()))
		var values []string
		for len(values) < count {
			fetches := consumer.PollFetches(ctx)
			check("polled", fetches.Err())
			fetches.EachRecord(func(record *kgo.Record) { values = append(values, string(record.Value)) })
		}
		sameBatch(values, round)
		same("members", len(must(admin.DescribeGroups(ctx, group))[group].Members), 1)
		check("commit", consumer.CommitUncommittedOffsets(ctx))
		consumer.Close()
	}
	same("group", slices.Contains(must(admin.ListGroups(ctx)).Groups(), group), true)
	check("deleted", must(admin.DeleteTopic(ctx, topic)).Err)
	time.Sleep(2 * fresh)
	same("listed", must(admin.ListTopics(ctx)).Has(topic), false)
}

// Reads one batch as a member of the group, commits it and stops.
type saramaReader struct {
	sync.Mutex
	values []string
	stop   func()
}

func (*saramaReader) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*saramaReader) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (r *saramaReader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		r.Lock()
		r.values = append(r.values, string(message.Value))
		session.MarkMessage(message, "")
		if len(r.values) == count {
			session.Commit()
			r.stop()
		}
		r.Unlock()
	}
	return nil
}

func saramaClient(ctx context.Context) {
	config := sarama.NewConfig()
	config.Version = must(sarama.ParseKafkaVersion(os.Args[3]))
	config.Producer.Idempotent, config.Producer.RequiredAcks = true, sarama.WaitForAll
	config.Producer.Return.Successes, config.Net.MaxOpenRequests = true, 1
	config.Consumer.Offsets.Initial, config.Consumer.Offsets.AutoCommit.Enable = sarama.OffsetOldest, false
	admin := must(sarama.NewClusterAdmin([]string{broker}, config))
	defer admin.Close()
	text := value
	detail := sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1,
		ConfigEntries: map[string]*string{setting: &text}}
	check("created", admin.CreateTopic(topic, &detail, false))
	same("listed", must(admin.ListTopics())[topic].NumPartitions, partitions)
	resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{setting}}
	same("config", must(admin.DescribeConfig(resource))[0].Value, value)
	for round := range 2 {
		producer := must(sarama.NewSyncProducer([]string{broker}, config))
		for _, value := range batch(round) {
			message := sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(value), Value: sarama.StringEncoder(value)}
			_, _, err := producer.SendMessage(&message)
			check("produced", err)
		}
		check("closed", producer.Close())
		consumer := must(sarama.NewConsumerGroup([]string{broker}, group, config))
		consuming, stop := context.WithCancel(ctx)
		reader := saramaReader{stop: stop}
		check("consumed", consumer.Consume(consuming, []string{topic}, &reader))
		same("time left", ctx.Err(), nil)
		sameBatch(reader.values, round)
		check("closed", consumer.Close())
	}
	_, listed := must(admin.ListConsumerGroups())[group]
	same("group", listed, true)
	same("described", must(admin.DescribeConsumerGroups([]string{group}))[0].State, "Empty")
	check("deleted", admin.DeleteTopic(topic))
	_, listed = must(admin.ListTopics())[topic]
	same("listed", listed, false)
}

func segmentio(ctx context.Context) {
	transport := kafka.Transport{MetadataTTL: fresh}
	client := kafka.Client{Addr: kafka.TCP(broker), Timeout: patience, Transport: &transport}
	listed := func() bool {
		for _, one := range must(client.Metadata(ctx, &kafka.MetadataRequest{})).Topics {
			if one.Name == topic {
				return true
			}
		}
		return false
	}
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1,
		ConfigEntries: []kafka.ConfigEntry{{ConfigName: setting, ConfigValue: value}}}
	made := must(client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}}))
	check("created", made.Errors[topic])
	same("listed", listed(), true)
	resource := kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
		ConfigNames: []string{setting}}
	described := must(client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{resource}}))
	same("config", described.Resources[0].ConfigEntries[0].ConfigValue, value)
	for round := range 2 {
		writer := kafka.Writer{Addr: kafka.TCP(broker), Topic: topic, BatchTimeout: 10 * time.Millisecond}
		var messages []kafka.Message
		for _, value := range batch(round) {
			messages = append(messages, kafka.Message{Key: []byte(value), Value: []byte(value)})
		}
		check("produced", writer.WriteMessages(ctx, messages...))
		check("closed", writer.Close())
		reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{broker}, GroupID: group, Topic: topic,
			StartOffset: kafka.FirstOffset, MaxWait: 100 * time.Millisecond})
		var values []string
		for len(values) < count {
			message := must(reader.FetchMessage(ctx))
			values = append(values, string(message.Value))
			check("committed", reader.CommitMessages(ctx, message))
		}
		sameBatch(values, round)
		groups := must(client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})).Groups
		same("members", len(groups[0].Members), 1)
		check("closed", reader.Close())
	}
	groups := must(client.ListGroups(ctx, &kafka.ListGroupsRequest{})).Groups
	same("group", slices.ContainsFunc(groups, func(one kafka.ListGroupsResponseGroup) bool { return one.GroupID == group }), true)
	deleted := must(client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}}))
	check("deleted", deleted.Errors[topic])
	time.Sleep(2 * fresh)
	same("listed", listed(), false)
}

func main() {
	name := strings.Join(append([]string{os.Args[1]}, os.Args[3:]...), "-")
	topic, group, broker = "topic-"+name, "group-"+name, os.Args[2]
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	clients := map[string]func(context.Context){"franz-go": franz, "sarama": saramaClient, "kafka-go": segmentio}
	clients[os.Args[1]](ctx)
}
