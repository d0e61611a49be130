// Commits offsets of groups, as fast as a cluster takes them or at a rate, from a few threads with
// a connection each, over gRPC's completion queues and bytes alone: beside brokers on the same
// cores a client has to be cheap. Prints one line of JSON: partition offsets and requests a second,
// what a request waited for, the CPU of this process.
//
//   group_load ADDRESS[,ADDRESS...] TOPIC [--partitions 100] [--groups 64] [--threads 2] [--in-flight 8]
//              [--seconds 5] [--rate OFFSETS_PER_SECOND] [--offset-max 0] [--each-group-once]
//
// A request is of one group and the topic's first so many partitions, at any offsets up to the
// largest. At a rate its time counts from when it was due. Anything refused ends the program.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include "millrace/v1/group_service.pb.h"

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;
constexpr char kMethod[] = "/millrace.v1.GroupService/CommitOffsets";
constexpr auto kCallTime = std::chrono::seconds(30);

struct Options {
  std::vector<std::string> addresses;
  std::string topic;
  uint32_t partitions = 100;
  uint32_t groups = 64;
  uint32_t threads = 2;
  uint32_t in_flight = 8;  // of a thread
  double seconds = 5;
  double rate = 0;  // partition offsets a second of all threads; 0: as many as are taken
  int64_t offset_max = 0;
  bool is_each_group_once = false;
};

[[noreturn]] void Fail(const std::string& what) {
  std::fprintf(stderr, "error: %s\n", what.c_str());
  std::_Exit(1);
}

// A call that is made again and again.
struct Slot {
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader;
  grpc::ByteBuffer response;
  grpc::Status status;
  Clock::time_point due;
};

class Connection {
 public:
  Connection(const Options& options, uint32_t number, std::atomic<uint64_t>& next_group)
      : options_(options),
        next_group_(next_group),
        random_(number),
        stub_(Connect(options.addresses[number % options.addresses.size()])),
        slots_(options.in_flight) {
    for (Slot& slot : slots_) free_.push_back(&slot);
  }

  // Until the time is over, or every group had its turn, and all is answered.
  void Run(Clock::time_point start) {
    const auto end = start + std::chrono::duration_cast<Clock::duration>(Seconds(options_.seconds));
    const auto interval = std::chrono::duration_cast<Clock::duration>(
        Seconds(options_.rate > 0 ? options_.partitions * options_.threads / options_.rate : 0));
    Clock::time_point due = start;
    for (bool is_over = false; !is_over || free_.size() < slots_.size();) {
      const auto now = Clock::now();
      if (options_.rate <= 0) due = now;
      is_over = is_over || (!options_.is_each_group_once && due >= end);
      const bool can_send = !is_over && !free_.empty();
      if (can_send && due <= now) {
        is_over = !Send(due);
        due += interval;
      } else {
        Await(can_send ? due : now + kCallTime);
      }
    }
  }

  const std::vector<double>& waited_ms() const { return waited_ms_; }

 private:
  static std::unique_ptr<grpc::GenericStub> Connect(const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    return std::make_unique<grpc::GenericStub>(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
  }

  // Whether there was something left to send.
  bool Send(Clock::time_point due) {
    const uint64_t number = next_group_++;
    if (options_.is_each_group_once && number >= options_.groups) return false;
    const grpc::Slice body(RequestOf(number % options_.groups));
    const grpc::ByteBuffer request(&body, 1);
    Slot* slot = free_.back();
    free_.pop_back();
    slot->due = due;
    slot->context = std::make_unique<grpc::ClientContext>();
    slot->context->set_deadline(std::chrono::system_clock::now() + kCallTime);
    slot->reader = stub_->PrepareUnaryCall(slot->context.get(), kMethod, request, &queue_);
    slot->reader->StartCall();
    slot->reader->Finish(&slot->response, &slot->status, slot);
    return true;
  }

  std::string RequestOf(uint64_t group) {
    request_.set_group("group-" + std::to_string(group));
    if (request_.topics().empty()) {
      auto& topic = *request_.add_topics();
      topic.set_topic(options_.topic);
      for (uint32_t i = 0; i < options_.partitions; ++i) topic.add_partitions()->set_partition(i);
    }
    std::uniform_int_distribution<int64_t> offsets(0, options_.offset_max);
    for (auto& commit : *request_.mutable_topics(0)->mutable_partitions()) {
      commit.set_offset(offsets(random_));
    }
    return request_.SerializeAsString();
  }

  // One answer, or nothing if the time comes first.
  void Await(Clock::time_point until) {
    const auto left = until - Clock::now();
    const auto deadline = std::chrono::system_clock::now() +
                          std::chrono::duration_cast<std::chrono::system_clock::duration>(left);
    void* tag = nullptr;
    bool is_ok = false;
    if (queue_.AsyncNext(&tag, &is_ok, deadline) != grpc::CompletionQueue::GOT_EVENT) return;
    Slot* slot = static_cast<Slot*>(tag);
    if (!slot->status.ok())
      Fail(std::to_string(slot->status.error_code()) + " " + slot->status.error_message());
    // The answer names what was refused, and nothing else.
    if (slot->response.Length() > 0) Fail("an offset was refused");
    waited_ms_.push_back(Seconds(Clock::now() - slot->due).count() * 1000);
    slot->response.Clear();
    free_.push_back(slot);
  }

  const Options& options_;
  std::atomic<uint64_t>& next_group_;
  std::minstd_rand random_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericStub> stub_;
  millrace::v1::CommitOffsetsRequest request_;
  std::vector<Slot> slots_;
  std::vector<Slot*> free_;
  std::vector<double> waited_ms_;
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void Print(const Options& options, double seconds, std::vector<double> waited_ms) {
  if (waited_ms.empty()) Fail("nothing was sent");
  std::sort(waited_ms.begin(), waited_ms.end());
  const auto at = [&](double fraction) {
    return waited_ms[static_cast<size_t>(fraction * static_cast<double>(waited_ms.size() - 1))];
  };
  const auto requests = static_cast<double>(waited_ms.size());
  std::printf(
      "{\"requests\": %.0f, \"offsets\": %.0f, \"seconds\": %.3f, \"offsets_per_second\": %.0f, "
      "\"latency_ms\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}, \"cpu_seconds\": %.3f}\n",
      requests, requests * options.partitions, seconds, requests * options.partitions / seconds,
      at(0.5), at(0.99), waited_ms.back(), CpuSeconds());
}

void Load(const Options& options) {
  std::atomic<uint64_t> next_group = 0;
  std::vector<std::unique_ptr<Connection>> connections;
  connections.reserve(options.threads);
  for (uint32_t i = 0; i < options.threads; ++i) {
    connections.push_back(std::make_unique<Connection>(options, i, next_group));
  }
  const auto start = Clock::now();
  std::vector<std::thread> threads;
  threads.reserve(connections.size());
  for (auto& connection : connections) {
    threads.emplace_back([&connection, start] { connection->Run(start); });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = Seconds(Clock::now() - start).count();
  std::vector<double> waited_ms;
  for (const auto& connection : connections) {
    waited_ms.insert(waited_ms.end(), connection->waited_ms().begin(),
                     connection->waited_ms().end());
  }
  Print(options, seconds, std::move(waited_ms));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Commits offsets of groups");
  std::string addresses;
  app.add_option("addresses", addresses)->required();
  app.add_option("topic", options.topic)->required();
  app.add_option("--partitions", options.partitions, "in a request");
  app.add_option("--groups", options.groups);
  app.add_option("--threads", options.threads);
  app.add_option("--in-flight", options.in_flight, "requests, of a thread");
  app.add_option("--seconds", options.seconds);
  app.add_option("--rate", options.rate, "partition offsets a second");
  app.add_option("--offset-max", options.offset_max);
  app.add_flag("--each-group-once", options.is_each_group_once, "instead of for a time");
  CLI11_PARSE(app, argc, argv);
  options.addresses = CLI::detail::split(addresses, ',');
  Load(options);
  return 0;
}
