// A client of generated code and nothing else. Prints one line per record, "OFFSET KEY VALUE", and exits 1
// with the reason if anything goes wrong.
//
//	go run . write HOST:PORT TOPIC COUNT      creates the topic and stores records
//	go run . fetch HOST:PORT TOPIC COUNT
//	go run . subscribe HOST:PORT TOPIC        up to the end that it finds
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	pb "millrace.test/clients/gen/millrace/v1"
)

const (
	publishedAtOnce = 50
	creditBytes     = 1 << 20
)

func earliest() *pb.Position {
	return &pb.Position{At: &pb.Position_Earliest{Earliest: true}}
}

func recordOf(number int) *pb.Record {
	return &pb.Record{Key: []byte("go"), Value: []byte(fmt.Sprintf("value-%d", number)),
		Headers: []*pb.Header{{Key: "n", Value: []byte(strconv.Itoa(number))}}}
}

// publish stores records [0, count) with unary calls, some records each.
func publish(ctx context.Context, broker *grpc.ClientConn, topic string, count int) {
	client := pb.NewProducerServiceClient(broker)
	for first := 0; first < count; first += publishedAtOnce {
		request := &pb.PublishRequest{Topic: topic}
		for n := first; n < min(first+publishedAtOnce, count); n++ {
			request.Records = append(request.Records, recordOf(n))
		}
		response, err := client.Publish(ctx, request)
		if err != nil {
			log.Fatalf("publish: %v", err)
		}
		if len(response.Results) != len(request.Records) {
			log.Fatalf("publish: %d results", len(response.Results))
		}
		for i, result := range response.Results {
			if result.Error != nil || result.Offset != int64(first+i) {
				log.Fatalf("publish: result %d is %v", i, result)
			}
		}
	}
}

// produce stores records [first, count) on a stream, one batch a record, pipelined, safe against doubles.
func produce(ctx context.Context, broker *grpc.ClientConn, topic string, first, count int) {
	client := pb.NewProducerServiceClient(broker)
	id, err := client.InitProducer(ctx, &pb.InitProducerRequest{})
	if err != nil {
		log.Fatalf("init producer: %v", err)
	}
	stream, err := client.Produce(ctx)
	if err != nil {
		log.Fatalf("produce: %v", err)
	}
	go func() {
		_ = stream.Send(&pb.ProduceRequest{Init: &pb.ProduceInit{ClientId: "go"}})
		for n := first; n < count; n++ {
			batch := &pb.RecordBatch{ProducerId: id.ProducerId, ProducerEpoch: id.ProducerEpoch,
				FirstSequence: uint32(n - first), Records: []*pb.Record{recordOf(n)}}
			_ = stream.Send(&pb.ProduceRequest{Batches: []*pb.ProduceBatch{
				{Topic: topic, BatchId: uint64(n), Batch: batch}}})
		}
		_ = stream.CloseSend()
	}()
	for next := first; next < count; {
		response, err := stream.Recv()
		if err != nil {
			log.Fatalf("produce: %v before result %d", err, next)
		}
		for _, result := range response.Results {
			if result.Error != nil || result.BatchId != uint64(next) ||
				result.BaseOffset != int64(next) {
				log.Fatalf("produce: result %d is %v", next, result)
			}
			next++
		}
	}
}

func write(ctx context.Context, broker *grpc.ClientConn, topic string, count int) {
	request := &pb.CreateTopicRequest{Name: topic}
	if _, err := pb.NewAdminServiceClient(broker).CreateTopic(ctx, request); err != nil {
		log.Fatalf("create topic: %v", err)
	}
	publish(ctx, broker, topic, count/2)
	produce(ctx, broker, topic, count/2, count)
}

func show(offset int64, record *pb.Record) {
	fmt.Printf("%d %s %s\n", offset, record.Key, record.Value)
}

// fetch shows `count` records from the beginning, giving back the credit that each answer took.
func fetch(ctx context.Context, broker *grpc.ClientConn, topic string, count int) {
	stream, err := pb.NewConsumerServiceClient(broker).Fetch(ctx)
	if err != nil {
		log.Fatalf("fetch: %v", err)
	}
	start := &pb.FetchPartition{FetchId: 7, Topic: topic, Position: earliest()}
	request := &pb.FetchRequest{Init: &pb.FetchInit{ClientId: "go"},
		Add: []*pb.FetchPartition{start}, CreditBytes: creditBytes}
	for read := 0; read < count; {
		if err := stream.Send(request); err != nil {
			log.Fatalf("fetch: %v", err)
		}
		response, err := stream.Recv()
		if err != nil {
			log.Fatalf("fetch: %v after %d records", err, read)
		}
		for _, part := range response.Partitions {
			if part.Error != nil || part.FetchId != 7 {
				log.Fatalf("fetch: %v", part)
			}
			for _, batch := range part.Batches {
				for i, record := range batch.Batch.Records {
					place := max(int64(i), int64(record.OffsetDelta))
					show(batch.BaseOffset+place, record)
					read++
				}
			}
		}
		request = &pb.FetchRequest{CreditBytes: uint64(proto.Size(response))}
	}
	_ = stream.CloseSend()
}

func subscribe(ctx context.Context, broker *grpc.ClientConn, topic string) {
	stream, err := pb.NewConsumerServiceClient(broker).Subscribe(ctx,
		&pb.SubscribeRequest{Topic: topic, Position: earliest(), StopAtEnd: true})
	for err == nil {
		var response *pb.SubscribeResponse
		response, err = stream.Recv()
		for _, record := range response.GetRecords() {
			show(record.Offset, record.Record)
		}
	}
	if !errors.Is(err, io.EOF) {
		log.Fatalf("subscribe: %v", err)
	}
}

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: clients write|fetch|subscribe HOST:PORT TOPIC [COUNT]")
	}
	command, address, topic := os.Args[1], os.Args[2], os.Args[3]
	count := 0
	if len(os.Args) > 4 {
		var err error
		if count, err = strconv.Atoi(os.Args[4]); err != nil {
			log.Fatalf("COUNT: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	broker, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatalf("connect to %s: %v", address, err)
	}
	switch command {
	case "write":
		write(ctx, broker, topic, count)
	case "fetch":
		fetch(ctx, broker, topic, count)
	case "subscribe":
		subscribe(ctx, broker, topic)
	default:
		log.Fatalf("no command %q", command)
	}
}
