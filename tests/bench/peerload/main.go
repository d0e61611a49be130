// peerload loads the peers of Millrace the way `millrace bench` loads Millrace: Kafka through franz-go, NATS
// JetStream through nats.go. It prints one line of JSON with the fields of `millrace bench -o json`.
//
//	peerload -system kafka -bootstrap HOST:PORT,... -topic t -partitions 16 create
//	peerload -system kafka -bootstrap HOST:PORT,... -topic t -records 100000 -record-size 1024 produce
//
// Operations: create, delete, leader, produce, consume.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

// options are the same for both systems, as far as they have the thing.
type options struct {
	bootstrap  string
	topic      string
	partitions int
	records    int
	recordSize int
	rate       float64       // records a second; 0: as fast as it goes
	linger     time.Duration // Kafka alone
	memoryMB   int           // unanswered records; Kafka alone
	pending    int           // unanswered publishes; NATS alone
	flushEach  bool          // create: Kafka's flush.messages=1
	retry      bool          // NATS: publish again until answered
	stamp      bool          // values begin with when they were due; consume takes latency from it
	skip       int           // consume: records before those that count
	timeout    time.Duration
}

// system is what an operation needs of Kafka or NATS.
type system interface {
	create() error
	remove() error
	leader() (int, error)
	producer() (producer, error)
	// consume reads the topic from its beginning and calls got with the number of records that came; their values
	// are made only if they are asked for.
	consume(got func(count int, values func() [][]byte) (isEnough bool)) error
}

// producer sends one record and calls done once, from any goroutine. Send waits while there is no room.
type producer interface {
	send(sequence int, value []byte, done func(error))
	flush()
}

func main() {
	var o options
	name := flag.String("system", "kafka", "kafka or nats")
	flag.StringVar(&o.bootstrap, "bootstrap", "", "addresses, separated by commas")
	flag.StringVar(&o.topic, "topic", "bench", "topic, or the prefix of the streams")
	flag.IntVar(&o.partitions, "partitions", 1, "partitions, or streams")
	flag.IntVar(&o.records, "records", 1, "how many")
	flag.IntVar(&o.recordSize, "record-size", 1024, "bytes of a value")
	flag.Float64Var(&o.rate, "rate", 0, "records a second; 0: as fast as it goes")
	flag.DurationVar(&o.linger, "linger", 5*time.Millisecond, "Kafka: wait of a record for others")
	flag.IntVar(&o.memoryMB, "memory-mb", 32, "Kafka: MiB of unanswered records")
	flag.IntVar(&o.pending, "pending", 4096, "NATS: unanswered publishes")
	flag.BoolVar(&o.flushEach, "flush-each", false, "create: Kafka's flush.messages=1")
	flag.BoolVar(&o.retry, "retry", false, "NATS: publish again until answered")
	flag.BoolVar(&o.stamp, "stamp", false, "values begin with when they were due, and latency of consume is from then")
	flag.IntVar(&o.skip, "skip", 0, "consume: records to read before those")
	flag.DurationVar(&o.timeout, "timeout", 60*time.Second, "wait for the cluster")
	flag.Parse()
	var on system = newKafka(o)
	if *name == "nats" {
		on = newNats(o)
	}
	result, err := run(on, o, flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	line, _ := json.Marshal(result)
	fmt.Println(string(line))
}

func run(on system, o options, operation string) (any, error) {
	switch operation {
	case "create":
		return "created", on.create()
	case "delete":
		return "deleted", on.remove()
	case "leader":
		id, err := on.leader()
		return map[string]int{"leader": id}, err
	case "produce":
		return produce(on, o)
	case "consume":
		return consume(on, o)
	}
	return nil, fmt.Errorf("no such operation: %q", operation)
}

// until calls try until it succeeds or the time is over, whose last error it then returns.
func until(limit time.Duration, try func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := try()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(30 * time.Millisecond)
	}
}
