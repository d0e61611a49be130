// Produces records to a new topic and reads them back, with generated code and nothing else. Prints one
// line per record, "OFFSET KEY VALUE", and exits 1 with the reason if anything goes wrong.
//
//	go run . HOST:PORT TOPIC COUNT
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "millrace.test/clients/gen/millrace/v1"
)

func connect(address string) *grpc.ClientConn {
	connection, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatalf("connect to %s: %v", address, err)
	}
	return connection
}

// leaderOf creates the topic and returns a connection to the leader of its only partition.
func leaderOf(ctx context.Context, address, topic string) *grpc.ClientConn {
	broker := connect(address)
	if _, err := pb.NewAdminServiceClient(broker).CreateTopic(ctx,
		&pb.CreateTopicRequest{Name: topic}); err != nil {
		log.Fatalf("create topic: %v", err)
	}
	info, err := pb.NewMetadataServiceClient(broker).DescribeTopics(ctx,
		&pb.DescribeTopicsRequest{Names: []string{topic}})
	if err != nil {
		log.Fatalf("describe topic: %v", err)
	}
	leader := info.Topics[0].Partitions[0].LeaderId
	for _, candidate := range info.Brokers {
		if candidate.BrokerId == leader {
			return connect(candidate.Address)
		}
	}
	log.Fatalf("no broker %d among %v", leader, info.Brokers)
	return nil
}

// produce sends one batch per record, pipelined, and checks that offsets follow on.
func produce(ctx context.Context, leader *grpc.ClientConn, topic string, count int) {
	client := pb.NewProducerServiceClient(leader)
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
		for i := 0; i < count; i++ {
			record := &pb.Record{Key: []byte("go"), Value: []byte(fmt.Sprintf("value-%d", i)),
				Headers: []*pb.Header{{Key: "n", Value: []byte(strconv.Itoa(i))}}}
			_ = stream.Send(&pb.ProduceRequest{Batches: []*pb.ProduceBatch{{Topic: topic,
				BatchId: uint64(i), Batch: &pb.RecordBatch{ProducerId: id.ProducerId,
					ProducerEpoch: id.ProducerEpoch, FirstSequence: uint32(i),
					Records: []*pb.Record{record}}}}})
		}
		_ = stream.CloseSend()
	}()
	for stored := 0; stored < count; {
		response, err := stream.Recv()
		if err != nil {
			log.Fatalf("produce: %v after %d results", err, stored)
		}
		for _, result := range response.Results {
			if result.Error != nil || result.BatchId != uint64(stored) ||
				result.BaseOffset != int64(stored) {
				log.Fatalf("produce: result %d is %v", stored, result)
			}
			stored++
		}
	}
}

// consume prints `count` records from the beginning, giving back the credit that it uses.
func consume(ctx context.Context, leader *grpc.ClientConn, topic string, count int) {
	stream, err := pb.NewConsumerServiceClient(leader).Fetch(ctx)
	if err != nil {
		log.Fatalf("fetch: %v", err)
	}
	start := &pb.FetchPartition{FetchId: 7, Topic: topic,
		Position: &pb.Position{At: &pb.Position_Earliest{Earliest: true}}}
	request := &pb.FetchRequest{Init: &pb.FetchInit{ClientId: "go"},
		Add: []*pb.FetchPartition{start}, CreditBytes: 4096}
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
					fmt.Printf("%d %s %s\n", batch.BaseOffset+int64(i), record.Key, record.Value)
					read++
				}
			}
		}
		request = &pb.FetchRequest{CreditBytes: 4096}
	}
	_ = stream.CloseSend()
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: clients HOST:PORT TOPIC COUNT")
	}
	count, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatalf("COUNT: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	leader := leaderOf(ctx, os.Args[1], os.Args[2])
	produce(ctx, leader, os.Args[2], count)
	consume(ctx, leader, os.Args[2], count)
}
