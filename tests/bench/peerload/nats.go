package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	createAtOnce  = 8
	ownWindow     = 64                     // above ours, so that the client's own limit, which fails a publish, is never met
	answerTimeout = 250 * time.Millisecond // of a publish that is repeated
	fetchAhead    = 10000                  // records, of all streams together
)

// natsSystem: a stream for each partition.
type natsSystem struct{ options }

func newNats(o options) *natsSystem { return &natsSystem{o} }

func (n *natsSystem) stream(i int) string  { return fmt.Sprintf("%s_%d", n.topic, i) }
func (n *natsSystem) subject(i int) string { return fmt.Sprintf("%s.%d", n.topic, i) }

func (n *natsSystem) connect() (*nats.Conn, jetstream.JetStream, error) {
	c, err := nats.Connect(n.bootstrap, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(0, 0))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(c, jetstream.WithPublishAsyncMaxPending(n.pending+ownWindow))
	return c, js, err
}

// eachStream runs use for every stream, a few at once; the first error.
func (n *natsSystem) eachStream(use func(ctx context.Context, js jetstream.JetStream, i int) error) error {
	c, js, err := n.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	var (
		wait  sync.WaitGroup
		once  sync.Once
		first error
	)
	indexes := make(chan int, n.partitions)
	for i := range n.partitions {
		indexes <- i
	}
	close(indexes)
	for range createAtOnce {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for i := range indexes {
				err := until(n.timeout, func() error {
					ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
					defer cancel()
					return use(ctx, js, i)
				})
				if err != nil {
					once.Do(func() { first = err })
					return
				}
			}
		}()
	}
	wait.Wait()
	return first
}

// create returns once every stream has a leader and its replicas follow.
func (n *natsSystem) create() error {
	return until(n.timeout, func() error {
		return n.eachStream(func(ctx context.Context, js jetstream.JetStream, i int) error {
			stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
				Name: n.stream(i), Subjects: []string{n.subject(i)}, Storage: jetstream.FileStorage,
				Replicas: replicas, Retention: jetstream.LimitsPolicy,
			})
			if err != nil {
				return err
			}
			info, err := stream.Info(ctx)
			if err != nil {
				return err
			}
			if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) < replicas-1 {
				return fmt.Errorf("stream %d has no leader or replicas", i)
			}
			return nil
		})
	})
}

func (n *natsSystem) remove() error {
	return n.eachStream(func(ctx context.Context, js jetstream.JetStream, i int) error {
		return js.DeleteStream(ctx, n.stream(i))
	})
}

// leader: the servers are named n1, n2, n3.
func (n *natsSystem) leader() (int, error) {
	c, js, err := n.connect()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), n.timeout)
	defer cancel()
	stream, err := js.Stream(ctx, n.stream(0))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimPrefix(stream.CachedInfo().Cluster.Leader, "n"))
}

type inFlight struct {
	answer jetstream.PubAckFuture
	done   func(error)
}

// natsProducer publishes asynchronously with a window of its own; answers are awaited in the order of sending.
type natsProducer struct {
	natsSystem
	js    jetstream.JetStream
	queue chan inFlight
}

func (n *natsSystem) producer() (producer, error) {
	_, js, err := n.connect()
	if err != nil {
		return nil, err
	}
	p := &natsProducer{natsSystem: *n, js: js, queue: make(chan inFlight, n.pending)}
	go p.await()
	return p, nil
}

func (p *natsProducer) await() {
	for next := range p.queue {
		select {
		case <-next.answer.Ok():
			next.done(nil)
		case err := <-next.answer.Err():
			next.done(err)
		}
	}
}

func (p *natsProducer) send(sequence int, value []byte, done func(error)) {
	message := &nats.Msg{Subject: p.subject(sequence % p.partitions), Data: value}
	if p.retry {
		go p.sendUntilAnswered(sequence, message, done)
		return
	}
	answer, err := p.js.PublishMsgAsync(message)
	if err != nil {
		done(err)
		return
	}
	p.queue <- inFlight{answer, done}
}

// sendUntilAnswered repeats the publish under one message id, so that the stream keeps it once.
func (p *natsProducer) sendUntilAnswered(sequence int, message *nats.Msg, done func(error)) {
	message.Header = nats.Header{nats.MsgIdHdr: []string{strconv.Itoa(sequence)}}
	done(until(p.timeout, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
		defer cancel()
		_, err := p.js.PublishMsg(ctx, message, jetstream.WithRetryAttempts(0))
		return err
	}))
}

func (p *natsProducer) flush() {}

func (n *natsSystem) consume(got func(int, func() [][]byte) bool) error {
	c, js, err := n.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), n.timeout)
	defer cancel()
	enough := make(chan struct{})
	var once sync.Once
	for i := range n.partitions {
		consumer, err := js.OrderedConsumer(ctx, n.stream(i), jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		ahead := max(fetchAhead/n.partitions, 500)
		_, err = consumer.Consume(func(message jetstream.Msg) {
			if got(1, func() [][]byte { return [][]byte{message.Data()} }) {
				once.Do(func() { close(enough) })
			}
		}, jetstream.PullMaxMessages(ahead))
		if err != nil {
			return err
		}
	}
	select {
	case <-enough:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
