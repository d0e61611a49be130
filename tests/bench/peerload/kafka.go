package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	replicas       = 3
	batchBytes     = 512 << 10 // what Millrace's client fills at most
	requestSeconds = 20
	unknownRetries = 100 // a broker may hear later than others of a topic that was made a moment ago
)

type kafka struct{ options }

func newKafka(o options) *kafka { return &kafka{o} }

func (k *kafka) client(more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(k.bootstrap, ",")...),
		kgo.MetadataMinAge(100 * time.Millisecond),
	}, more...)...)
}

// ask sends one request with a client of its own.
func (k *kafka) ask(use func(ctx context.Context, c *kgo.Client) error) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), requestSeconds*time.Second)
	defer cancel()
	return use(ctx, c)
}

func (k *kafka) metadata(ctx context.Context, c *kgo.Client) (*kmsg.MetadataResponse, error) {
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(k.topic)
	request.Topics = append(request.Topics, topic)
	return request.RequestWith(ctx, c)
}

// create returns once all brokers are there and every partition has a leader and all replicas in sync.
func (k *kafka) create() error {
	return until(k.timeout, func() error {
		return k.ask(func(ctx context.Context, c *kgo.Client) error {
			known, err := k.metadata(ctx, c)
			if err != nil {
				return err
			}
			if len(known.Brokers) < replicas {
				return fmt.Errorf("%d of %d brokers", len(known.Brokers), replicas)
			}
			if err := k.createNow(ctx, c); err != nil {
				return err
			}
			return k.isReady(ctx, c)
		})
	})
}

func (k *kafka) createNow(ctx context.Context, c *kgo.Client) error {
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = requestSeconds * 1000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic = k.topic
	topic.NumPartitions = int32(k.partitions)
	topic.ReplicationFactor = replicas
	configs := map[string]string{"min.insync.replicas": "2"}
	if k.flushEach {
		configs["flush.messages"] = "1"
	}
	for name, value := range configs {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name = name
		config.Value = kmsg.StringPtr(value)
		topic.Configs = append(topic.Configs, config)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, c)
	if err != nil {
		return err
	}
	err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	if errors.Is(err, kerr.TopicAlreadyExists) {
		return nil
	}
	return err
}

func (k *kafka) isReady(ctx context.Context, c *kgo.Client) error {
	return until(requestSeconds*time.Second/2, func() error {
		known, err := k.metadata(ctx, c)
		if err != nil {
			return err
		}
		ready := 0
		for _, partition := range known.Topics[0].Partitions {
			if partition.Leader >= 0 && len(partition.ISR) == replicas {
				ready++
			}
		}
		if ready < k.partitions {
			return fmt.Errorf("%d of %d partitions ready", ready, k.partitions)
		}
		return nil
	})
}

func (k *kafka) remove() error {
	return k.ask(func(ctx context.Context, c *kgo.Client) error {
		request := kmsg.NewPtrDeleteTopicsRequest()
		request.TimeoutMillis = requestSeconds * 1000
		request.TopicNames = []string{k.topic}
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = kmsg.StringPtr(k.topic)
		request.Topics = append(request.Topics, topic)
		response, err := request.RequestWith(ctx, c)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(response.Topics[0].ErrorCode)
	})
}

func (k *kafka) leader() (int, error) {
	leader := -1
	err := k.ask(func(ctx context.Context, c *kgo.Client) error {
		known, err := k.metadata(ctx, c)
		if err == nil && len(known.Topics[0].Partitions) > 0 {
			leader = int(known.Topics[0].Partitions[0].Leader)
		}
		return err
	})
	return leader, err
}

type kafkaProducer struct{ client *kgo.Client }

func (k *kafka) producer() (producer, error) {
	memory := k.memoryMB << 20
	c, err := k.client(
		kgo.DefaultProduceTopic(k.topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(batchBytes),
		kgo.MaxBufferedBytes(memory), kgo.MaxBufferedRecords(memory/k.recordSize+1), kgo.ProducerLinger(k.linger),
		kgo.UnknownTopicRetries(unknownRetries), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	)
	if err != nil {
		return nil, err
	}
	// As Millrace's client, which has its metadata and producer id before the time begins. No record is sent for it.
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	if err := c.Ping(ctx); err != nil {
		return nil, err
	}
	_, _, err = c.ProducerID(ctx)
	return &kafkaProducer{c}, err
}

func (p *kafkaProducer) send(_ int, value []byte, done func(error)) {
	p.client.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) { done(err) })
}

func (p *kafkaProducer) flush() { _ = p.client.Flush(context.Background()) }

func (k *kafka) consume(got func(int, func() [][]byte) bool) error {
	c, err := k.client(
		kgo.ConsumeTopics(k.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(1<<20),
	)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), k.timeout)
	defer cancel()
	for {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		values := func() (all [][]byte) {
			fetches.EachRecord(func(record *kgo.Record) { all = append(all, record.Value) })
			return all
		}
		if got(fetches.NumRecords(), values) {
			return nil
		}
	}
}
