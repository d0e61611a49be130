#include "tests/client/api/scripted_broker.h"

#include <chrono>
#include <future>

#include <gtest/gtest.h>

#include "millrace/v1/group_service.pb.h"
#include "millrace/v1/metadata_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/base/checksum.h"
#include "proto/record/record_batch_builder.h"

namespace millrace::internal {
namespace {

constexpr TopicId kTopic{9};
constexpr std::chrono::seconds kPatience{20};

std::string Join(const std::vector<Bytes>& pieces) {
  std::string joined;
  for (const Bytes& piece : pieces) joined += piece.view();
  return joined;
}

void Fill(const Status& error, v1::Error* out) {
  out->set_code(static_cast<int>(error.code()));
  out->set_message(std::string(error.message()));
  v1::ErrorInfo& info = *out->mutable_info();
  info.set_reason(std::string(ReasonName(error.reason())));
  for (const auto& [key, value] : error.metadata()) (*info.mutable_metadata())[key] = value;
}

}  // namespace

Bytes BatchOf(const std::vector<std::string>& values, BatchCompression compression) {
  RecordBatchBuilder builder({.records_bytes_max = SIZE_MAX});
  for (const std::string& value : values) EXPECT_TRUE(builder.TryAppend({.value = value}));
  return std::move(builder).Finish(
      {.destination = {kTopic, PartitionId(0)}, .compression = compression});
}

struct ScriptedCluster::State {
  explicit State(uint32_t partition_count) : partitions(partition_count) {}

  mutable std::mutex mu;
  std::condition_variable has_changed;
  std::vector<std::vector<v1::FetchedBatch>> partitions;  // guarded by mu
  int partitioning = 0;                                   // guarded by mu
  uint64_t sent_bytes = 0;                                // guarded by mu
  uint64_t produced = 0;                                  // batches; guarded by mu
  Duration delay{};                                       // guarded by mu
  std::map<std::string, Duration> timeouts;               // by method; guarded by mu
  // The client's thread's.
  client::RpcStreamHandler* producer = nullptr;
  std::vector<uint64_t> unanswered;  // batch_ids
  bool answers_at_once = false;
  std::vector<FetchStream*> readers;
  JoinStream* member = nullptr;
  v1::Assignment assignment;
  v1::Error commit_error;
  std::vector<std::string> heard;           // guarded by mu
  std::vector<std::string> ends;            // guarded by mu
  std::map<uint64_t, uint32_t> records_of;  // guarded by mu
  Status end_error;                         // guarded by mu
  std::map<uint32_t, int64_t> staged;       // guarded by mu
  std::map<uint32_t, int64_t> committed;    // in transactions; guarded by mu
  uint64_t joined = 0;                      // streams; guarded by mu

  void Answer(const Status& error);
};

// Of one member of a group.
class ScriptedCluster::JoinStream final : public client::RpcStream {
 public:
  JoinStream(Executor& executor, std::shared_ptr<State> state, client::RpcStreamHandler* handler)
      : executor_(executor), state_(std::move(state)), handler_(handler) {
    state_->member = this;
  }
  ~JoinStream() override {
    if (state_->member == this) state_->member = nullptr;
    *is_alive_ = false;
  }

  void Write(std::vector<Bytes> pieces) override {
    v1::JoinRequest request;
    ASSERT_TRUE(request.ParseFromString(Join(pieces)));
    if (request.has_init()) OnInit();
    if (request.has_commit()) OnCommit(request.commit());
    if (request.has_done()) OnDone(request.done());
    if (request.has_leave()) OnLeave(request.leave());
  }
  void Say(const v1::JoinResponse& response) {
    executor_.Post([this, alive = is_alive_, response] {
      if (*alive) handler_->OnMessage(Bytes::Own(response.SerializeAsString()));
    });
  }
  void SayAssignment() {
    v1::JoinResponse response;
    *response.mutable_assignment() = state_->assignment;
    if (response.assignment().version() > 0) Say(response);
  }
  void End(const Status& why) {
    executor_.Post([this, alive = is_alive_, why] {
      if (*alive) handler_->OnClosed(why);
    });
  }

 private:
  void Hear(std::string text) {
    {
      const std::lock_guard<std::mutex> lock(state_->mu);
      state_->heard.push_back(std::move(text));
    }
    state_->has_changed.notify_all();
  }
  void OnInit() {
    {
      const std::lock_guard<std::mutex> lock(state_->mu);
      ++state_->joined;
    }
    state_->has_changed.notify_all();
    v1::JoinResponse response;
    response.mutable_joined()->set_member_epoch(1);
    response.mutable_joined()->set_interval_ms(60'000);
    Say(response);
    SayAssignment();
  }
  void OnCommit(const v1::OffsetCommit& commit) {
    std::string text = "commit";
    v1::JoinResponse response;
    response.mutable_commit()->set_commit_id(commit.commit_id());
    for (const v1::TopicCommit& topic : commit.topics()) {
      for (const v1::PartitionCommit& one : topic.partitions()) {
        text += " " + std::to_string(one.partition()) + "@" + std::to_string(one.offset());
        if (one.partition() != 0 || state_->commit_error.code() == 0) continue;
        v1::RefusedOffset& refused = *response.mutable_commit()->add_refused();
        refused.set_topic_id(topic.topic_id());
        refused.set_partition(one.partition());
        *refused.mutable_error() = state_->commit_error;
      }
    }
    Say(response);
    Hear(text);
  }
  void OnDone(const v1::AssignmentDone& done) {
    std::string text = "owns";
    for (const v1::OwnedPartitions& topic : done.owned()) {
      for (const uint32_t partition : topic.partitions()) text += " " + std::to_string(partition);
    }
    Hear(text);
  }
  void OnLeave(const v1::Leave& leave) {
    End({});
    Hear(leave.will_be_back() ? "leaves for a while" : "leaves");
  }

  Executor& executor_;
  const std::shared_ptr<State> state_;  // shared with the cluster
  client::RpcStreamHandler* const handler_;
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);  // shared with posted tasks
};

// Sends what its credit allows, a batch a message.
class ScriptedCluster::FetchStream final : public client::RpcStream {
 public:
  FetchStream(Executor& executor, std::shared_ptr<State> state, client::RpcStreamHandler* handler)
      : executor_(executor), state_(std::move(state)), handler_(handler) {
    state_->readers.push_back(this);
  }
  ~FetchStream() override {
    std::erase(state_->readers, this);
    *is_alive_ = false;
  }

  // What there is goes out, soon.
  void PostServe() {
    executor_.Post([this, alive = is_alive_] {
      if (*alive) Serve();
    });
  }

  void Write(std::vector<Bytes> pieces) override {
    v1::FetchRequest request;
    ASSERT_TRUE(request.ParseFromString(Join(pieces)));
    for (const uint32_t id : request.remove()) readers_.erase(id);
    for (const v1::FetchPartition& added : request.add()) {
      readers_[added.fetch_id()] = {.partition = added.partition(),
                                    .next_offset = added.position().offset()};
    }
    credit_ += static_cast<int64_t>(request.credit_bytes());
    PostServe();
  }

 private:
  struct Reader {
    uint32_t partition = 0;
    int64_t next_offset = 0;
  };

  // The first partition that has something goes first, as long as it has.
  void Serve() {
    std::vector<v1::FetchResponse> responses;
    {
      const std::lock_guard<std::mutex> lock(state_->mu);
      for (auto& [id, reader] : readers_) {
        for (const v1::FetchedBatch& batch : state_->partitions[reader.partition]) {
          const int64_t end = batch.base_offset() + batch.record_count();
          if (end <= reader.next_offset) continue;
          if (credit_ <= 0) break;
          reader.next_offset = end;
          v1::FetchedPartition& part = *responses.emplace_back().add_partitions();
          part.set_fetch_id(id);
          *part.add_batches() = batch;
          credit_ -= static_cast<int64_t>(batch.ByteSizeLong());
          state_->sent_bytes += batch.ByteSizeLong();
        }
      }
    }
    state_->has_changed.notify_all();
    for (const v1::FetchResponse& response : responses) {
      if (!*is_alive_) return;
      handler_->OnMessage(Bytes::Own(response.SerializeAsString()));
    }
  }

  Executor& executor_;
  const std::shared_ptr<State> state_;  // shared with the cluster
  client::RpcStreamHandler* const handler_;
  std::map<uint32_t, Reader> readers_;  // by fetch_id
  int64_t credit_ = 0;
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);  // shared with posted tasks
};

class ScriptedCluster::ProduceStream final : public client::RpcStream {
 public:
  ProduceStream(Executor& executor, std::shared_ptr<State> state, client::RpcStreamHandler* handler)
      : executor_(executor), state_(std::move(state)) {
    state_->producer = handler;
  }
  ~ProduceStream() override { state_->producer = nullptr; }

  void Write(std::vector<Bytes> pieces) override {
    v1::ProduceRequest request;
    ASSERT_TRUE(request.ParseFromString(Join(pieces)));
    {
      const std::lock_guard<std::mutex> lock(state_->mu);
      state_->produced += static_cast<uint64_t>(request.batches_size());
      for (const v1::ProduceBatch& batch : request.batches()) {
        state_->records_of[batch.batch().transaction_number()] += batch.batch().record_count();
      }
    }
    for (const v1::ProduceBatch& batch : request.batches()) {
      state_->unanswered.push_back(batch.batch_id());
    }
    state_->has_changed.notify_all();
    if (!state_->answers_at_once) return;
    executor_.Post([state = state_] { state->Answer({}); });
  }

 private:
  Executor& executor_;
  const std::shared_ptr<State> state_;  // shared with the cluster
};

class ScriptedCluster::Broker final : public client::Connector {
 public:
  Broker(Executor& executor, std::shared_ptr<State> state)
      : executor_(executor), state_(std::move(state)) {}

  void Call(client::RpcRequest request, client::RpcDone done) override {
    Duration delay{};
    Result<Bytes> answer = Bytes();
    {
      const std::lock_guard<std::mutex> lock(state_->mu);
      state_->timeouts[request.method] = request.timeout;
      delay = state_->delay;
      answer = AnswerTo(request);
    }
    executor_.RunAfter(delay, [done = std::move(done), answer = std::move(answer)]() mutable {
      done(std::move(answer));
    });
  }

  std::unique_ptr<client::RpcStream> OpenStream(const std::string&, const std::string& method,
                                                client::RpcStreamHandler* handler) override {
    if (method.ends_with("/Join")) return std::make_unique<JoinStream>(executor_, state_, handler);
    if (!method.ends_with("/Fetch"))
      return std::make_unique<ProduceStream>(executor_, state_, handler);
    return std::make_unique<FetchStream>(executor_, state_, handler);
  }

 private:
  // With the state's mu held, as what follows.
  Result<Bytes> AnswerTo(const client::RpcRequest& request) {
    if (request.method.ends_with("/EndTransaction")) return End(request.body);
    if (request.method.ends_with("/CommitOffsets")) return Stage(request.body);
    if (request.method.ends_with("/FetchOffsets")) return FetchOffsets(request.body);
    return Bytes::Own(Answer(request.method));
  }
  Result<Bytes> Stage(const Bytes& body) {
    v1::CommitOffsetsRequest request;
    EXPECT_TRUE(request.ParseFromArray(body.data(), static_cast<int>(body.size())));
    std::string text = "stage";
    for (const v1::PartitionCommit& one : request.topics(0).partitions()) {
      text += " " + std::to_string(one.partition()) + "@" + std::to_string(one.offset());
      state_->staged[one.partition()] = one.offset();
    }
    state_->ends.push_back(text + " in " + std::to_string(request.transaction().number()));
    return Bytes::Own(v1::CommitOffsetsResponse().SerializeAsString());
  }
  // What is in a transaction is told once to be so.
  Result<Bytes> FetchOffsets(const Bytes& body) {
    v1::FetchOffsetsRequest request;
    EXPECT_TRUE(request.ParseFromArray(body.data(), static_cast<int>(body.size())));
    v1::FetchOffsetsResponse response;
    v1::TopicOffsets& topic = *response.add_topics();
    topic.set_topic_id(request.topics(0).topic_id());
    for (const uint32_t partition : request.topics(0).partitions()) {
      v1::GroupOffset& one = *topic.add_partitions();
      one.set_partition(partition);
      one.set_offset(state_->committed[partition]);
      one.set_is_in_transaction(state_->staged.contains(partition));
    }
    state_->staged.clear();
    return Bytes::Own(response.SerializeAsString());
  }
  Result<Bytes> End(const Bytes& body) {
    v1::EndTransactionRequest request;
    EXPECT_TRUE(request.ParseFromArray(body.data(), static_cast<int>(body.size())));
    const bool is_commit = request.result() == v1::TRANSACTION_RESULT_COMMIT;
    state_->ends.push_back((is_commit ? "commit " : "abort ") +
                           std::to_string(request.transaction_number()));
    RETURN_IF_ERROR(state_->end_error);
    if (is_commit) {
      for (const auto& [partition, offset] : state_->staged) state_->committed[partition] = offset;
      state_->staged.clear();
    }
    return Bytes::Own(v1::EndTransactionResponse().SerializeAsString());
  }
  std::string Answer(const std::string& method) const {
    if (method.ends_with("/InitProducer")) {
      v1::InitProducerResponse response;
      response.set_producer_id(7);
      return response.SerializeAsString();
    }
    return method.ends_with("/ListOffsets") ? ListOffsets().SerializeAsString()
                                            : Describe().SerializeAsString();
  }

  v1::ListOffsetsResponse ListOffsets() const {
    v1::ListOffsetsResponse response;
    for (uint32_t i = 0; i < state_->partitions.size(); ++i) {
      const std::vector<v1::FetchedBatch>& batches = state_->partitions[i];
      v1::PartitionOffsets& offsets = *response.add_partitions();
      offsets.set_partition(i);
      if (batches.empty()) continue;
      offsets.set_high_watermark(batches.back().end_offset());
      offsets.set_end_offset(batches.back().end_offset());
    }
    return response;
  }

  v1::DescribeTopicsResponse Describe() const {
    v1::DescribeTopicsResponse response;
    v1::Broker& broker = *response.add_brokers();
    broker.set_broker_id(1);
    broker.set_address("broker1:1");
    v1::Topic& topic = *response.add_topics();
    topic.set_name("t");
    topic.set_topic_id(kTopic.value());
    topic.set_partitioning(static_cast<v1::Partitioning>(state_->partitioning));
    for (uint32_t i = 0; i < state_->partitions.size(); ++i) {
      v1::Partition& partition = *topic.add_partitions();
      partition.set_partition(i);
      partition.set_leader_id(1);
      partition.set_leader_epoch(1);
    }
    return response;
  }

  Executor& executor_;
  const std::shared_ptr<State> state_;  // shared with the cluster
};

ScriptedCluster::ScriptedCluster(uint32_t partition_count)
    : state_(std::make_shared<State>(partition_count)),
      runtime_(std::make_shared<Runtime>(
          client::ClientOptions{.bootstrap = {"broker1:1"}},
          [this](Executor& executor) { return std::make_unique<Broker>(executor, state_); })) {}

ScriptedCluster::~ScriptedCluster() = default;

void ScriptedCluster::Store(uint32_t partition, const Bytes& batch, uint32_t record_count) {
  Append(partition, batch, record_count);
  runtime_->Post([state = state_] {
    for (FetchStream* reader : state->readers) reader->PostServe();
  });
}

void ScriptedCluster::Append(uint32_t partition, const Bytes& batch, uint32_t record_count) {
  const std::lock_guard<std::mutex> lock(state_->mu);
  std::vector<v1::FetchedBatch>& batches = state_->partitions.at(partition);
  const int64_t end = batches.empty() ? 0 : batches.back().end_offset();
  v1::FetchedBatch& added = batches.emplace_back();
  added.set_base_offset(end);
  added.set_record_count(record_count);
  added.set_end_offset(end + record_count);
  added.set_append_time_ms(1);
  added.set_batch_checksum(Crc32c(batch.view()));
  ASSERT_TRUE(added.mutable_batch()->ParseFromArray(batch.data(), static_cast<int>(batch.size())));
}

bool ScriptedCluster::WaitUntilSent(uint64_t bytes) {
  std::unique_lock<std::mutex> lock(state_->mu);
  return state_->has_changed.wait_for(lock, kPatience, [&] { return state_->sent_bytes >= bytes; });
}

bool ScriptedCluster::WaitUntilProduced(uint64_t batches) {
  std::unique_lock<std::mutex> lock(state_->mu);
  return state_->has_changed.wait_for(lock, kPatience, [&] { return state_->produced >= batches; });
}

void ScriptedCluster::State::Answer(const Status& error) {
  if (producer == nullptr || unanswered.empty()) return;
  v1::ProduceResponse response;
  for (const uint64_t id : std::exchange(unanswered, {})) {
    v1::ProduceResult& result = *response.add_results();
    result.set_batch_id(id);
    if (!error.ok()) Fill(error, result.mutable_error());
  }
  producer->OnMessage(Bytes::Own(response.SerializeAsString()));
}

void ScriptedCluster::AnswerProduced(const Status& error) { state_->Answer(error); }

void ScriptedCluster::AnswerAllFromNowOn() {
  runtime_->RunAndWait([this] {
    state_->answers_at_once = true;
    state_->Answer({});
  });
}

void ScriptedCluster::Later(Duration delay, Task task) {
  runtime_->RunAndWait([&] { runtime_->client().executor().RunAfter(delay, std::move(task)); });
}

void ScriptedCluster::SetPartitioning(int value) {
  const std::lock_guard<std::mutex> lock(state_->mu);
  state_->partitioning = value;
}

void ScriptedCluster::Grow(uint32_t partition_count) {
  {
    const std::lock_guard<std::mutex> lock(state_->mu);
    state_->partitions.resize(partition_count);
  }
  std::promise<void> told;
  runtime_->RunAndWait([&] {
    client::Client& client = runtime_->client();
    const auto watch = std::make_shared<uint64_t>();  // shared with the listener
    // It is told last.
    *watch = client.Watch("t", [&, watch](const Status&) {
      client.Unwatch(*watch);
      told.set_value();
    });
    client.RefreshMetadata();
  });
  ASSERT_EQ(told.get_future().wait_for(kPatience), std::future_status::ready);
}

void ScriptedCluster::DelayAnswers(Duration delay) {
  const std::lock_guard<std::mutex> lock(state_->mu);
  state_->delay = delay;
}

void ScriptedCluster::Assign(const std::vector<uint32_t>& partitions,
                             const std::vector<uint32_t>& revoked, uint32_t fencing_token) {
  runtime_->RunAndWait([&] {
    v1::Assignment& assignment = state_->assignment;
    assignment.set_version(assignment.version() + 1);
    assignment.set_member_epoch(1);
    assignment.clear_topics();
    assignment.clear_revoked();
    v1::AssignedTopic& topic = *assignment.add_topics();
    topic.set_topic("t");
    topic.set_topic_id(kTopic.value());
    for (const uint32_t partition : partitions) {
      v1::AssignedPartition& added = *topic.add_partitions();
      added.set_partition(partition);
      added.set_fencing_token(fencing_token);
      added.set_offset(0);
    }
    if (!revoked.empty()) assignment.add_revoked()->set_topic_id(kTopic.value());
    for (const uint32_t partition : revoked) {
      assignment.mutable_revoked(0)->add_partitions(partition);
    }
    if (state_->member != nullptr) state_->member->SayAssignment();
  });
}

// Each step posts the next: to the stream, to the session, to the listener.
void ScriptedCluster::Settle() {
  for (int i = 0; i < 5; ++i) runtime_->RunAndWait([] {});
}

bool ScriptedCluster::WaitUntilJoined(uint64_t streams) {
  std::unique_lock<std::mutex> lock(state_->mu);
  return state_->has_changed.wait_for(lock, kPatience, [&] { return state_->joined >= streams; });
}

void ScriptedCluster::EndMembership(const Status& why) {
  runtime_->RunAndWait([&] {
    state_->assignment.Clear();
    ASSERT_NE(state_->member, nullptr);
    state_->member->End(why);
  });
}

void ScriptedCluster::RefuseCommits(const Status& why) {
  runtime_->RunAndWait([&] { Fill(why, &state_->commit_error); });
}

void ScriptedCluster::AnswerEnds(const Status& error) {
  const std::lock_guard<std::mutex> lock(state_->mu);
  state_->end_error = error;
}

std::map<uint64_t, uint32_t> ScriptedCluster::RecordsOfTransactions() const {
  const std::lock_guard<std::mutex> lock(state_->mu);
  return state_->records_of;
}

std::vector<std::string> ScriptedCluster::Ends() const {
  const std::lock_guard<std::mutex> lock(state_->mu);
  return state_->ends;
}

std::vector<std::string> ScriptedCluster::Heard() const {
  const std::lock_guard<std::mutex> lock(state_->mu);
  return state_->heard;
}

bool ScriptedCluster::WaitUntilHeard(const std::string& text) {
  std::unique_lock<std::mutex> lock(state_->mu);
  return state_->has_changed.wait_for(
      lock, kPatience, [&] { return !state_->heard.empty() && state_->heard.back() == text; });
}

Duration ScriptedCluster::TimeoutOf(const std::string& method) const {
  const std::lock_guard<std::mutex> lock(state_->mu);
  for (const auto& [name, timeout] : state_->timeouts) {
    if (name.ends_with(method)) return timeout;
  }
  ADD_FAILURE() << "nobody called " << method;
  return {};
}

}  // namespace millrace::internal
