#include "tests/simulation/broker/transaction_actor.h"

#include <utility>
#include <vector>

#include <glog/logging.h>

#include "client/core/error.h"
#include "proto/base/coverage.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kRecordsMax = 4;
constexpr int kTriesMax = 40;

std::optional<bool> OutcomeIn(const Status& status) {
  for (const auto& [key, value] : status.metadata()) {
    if (key == "outcome") return value == "committed";
  }
  return std::nullopt;
}

bool IsPassing(const Status& status) {
  return status.code() == Code::kUnavailable || status.code() == Code::kDeadlineExceeded ||
         status.code() == Code::kResourceExhausted || status.code() == Code::kCancelled;
}

}  // namespace

// One batch, again until it is answered for good.
class TransactionActor::Sending : public client::RpcStreamHandler {
 public:
  Sending(TransactionActor& actor, uint64_t key, v1::ProduceBatch batch, SentDone done)
      : actor_(actor), key_(key), batch_(std::move(batch)), done_(std::move(done)) {
    Try();
  }

  void OnMessage(Bytes message) override {
    v1::ProduceResponse response;
    CHECK(response.ParseFromArray(message.data(), static_cast<int>(message.size())));
    if (response.results().empty()) return;
    const v1::ProduceResult& result = response.results(0);
    if (!result.has_error()) return Answer(Sent::kStored);
    OnError(client::FromError(result.error()));
  }
  void OnClosed(const Status& status) override { OnError(status); }

 private:
  void Try() {
    ++tries_;
    batch_.set_is_repeated(tries_ > 1);
    v1::ProduceRequest init;
    init.mutable_init();
    v1::ProduceRequest request;
    *request.add_batches() = batch_;
    stream_ = actor_.connector_.OpenStream(actor_.Address(), "/millrace.v1.ProducerService/Produce",
                                           this);
    stream_->Write({Bytes::Own(init.SerializeAsString())});
    stream_->Write({Bytes::Own(request.SerializeAsString())});
    timer_ = actor_.process_.executor().RunAfter(milliseconds(actor_.random_.Between(500, 12'000)),
                                                 [this] { OnError(Unavailable("no answer")); });
  }

  void OnError(const Status& why) {
    if (why.reason() == Reason::kTransactionEnded) return Answer(Sent::kEnded);
    const bool is_early = why.code() == Code::kFailedPrecondition && why.reason() == Reason::kNone;
    if ((!IsPassing(why) && !is_early) || tries_ >= kTriesMax) return Answer(Sent::kLost);
    Close();
    timer_ = actor_.process_.executor().RunAfter(milliseconds(actor_.random_.Between(5, 400)),
                                                 [this] { Try(); });
  }

  void Close() {
    actor_.process_.executor().Cancel(timer_);
    stream_.reset();
  }

  void Answer(Sent sent) {
    Close();
    // This ends with it.
    SentDone done = std::move(done_);
    TransactionActor& actor = actor_;
    const uint64_t key = key_;
    actor.process_.executor().Post([&actor, key, sent, done = std::move(done)]() mutable {
      actor.sending_.erase(key);
      done(sent);
    });
  }

  TransactionActor& actor_;
  const uint64_t key_;
  v1::ProduceBatch batch_;
  SentDone done_;
  int tries_ = 0;
  std::unique_ptr<client::RpcStream> stream_;
  TimerId timer_;
};

TransactionActor::TransactionActor(TransactionsLoad& load, uint32_t number, Random random)
    : load_(load),
      number_(number),
      transactional_id_("payer " + std::to_string(number)),
      process_(load.world().AddProcess("payer" + std::to_string(number))),
      connector_(load.cluster().edge(), process_),
      random_(random) {
  Die();
}

TransactionActor::~TransactionActor() = default;

std::string TransactionActor::Address() {
  const std::vector<std::string> addresses = load_.cluster().addresses();
  return addresses[random_.Below(addresses.size())];
}

void TransactionActor::After(uint64_t ms_max, Task task) {
  process_.executor().RunAfter(milliseconds(random_.Between(1, ms_max)), std::move(task));
}

template <typename Request>
void TransactionActor::Call(const std::string& method, const Request& request,
                            client::RpcDone done) {
  connector_.Call({.address = Address(),
                   .method = "/millrace.v1." + method,
                   .body = Bytes::Own(request.SerializeAsString()),
                   .timeout = milliseconds(random_.Between(50, 12'000))},
                  std::move(done));
}

void TransactionActor::Init(uint64_t request_id) {
  if (load_.is_stopped()) return load_.OnIdle();
  v1::InitProducerRequest request;
  request.set_transactional_id(transactional_id_);
  request.set_request_id(request_id);
  request.set_transaction_timeout_ms(static_cast<uint32_t>(random_.Between(1'000, 6'000)));
  Call("ProducerService/InitProducer", request,
       [this, request_id](const Result<Bytes>& answer) { OnInit(request_id, answer); });
}

void TransactionActor::OnInit(uint64_t request_id, const Result<Bytes>& answer) {
  // Below its level the cluster has none, and there may be no coordinator yet.
  if (!answer.ok()) return After(400, [this, request_id] { Init(request_id); });
  v1::InitProducerResponse given;
  CHECK(given.ParseFromArray(answer->data(), static_cast<int>(answer->size())));
  const bool is_next =
      given.producer_id() != life_.producer_id || given.producer_epoch() > life_.epoch;
  if (!is_next) load_.Saw(transactional_id_ + " got an epoch that it had");
  life_ = {.producer_id = given.producer_id(), .epoch = given.producer_epoch(), .sequences = {}};
  // What the life before left open is aborted by now, if nobody asked to commit it.
  for (uint64_t serial = 1; serial <= serial_; ++serial) {
    SeenTransaction& seen = load_.Of({number_, serial});
    if (!seen.may_be_committed) seen.is_committed = false;
  }
  Begin();
}

void TransactionActor::Begin() {
  if (load_.is_stopped()) return Finish();
  ++life_.number;
  load_.Of({number_, ++serial_});
  SendNext(random_.OneIn(10) ? 0 : random_.Between(1, kRecordsMax));
}

void TransactionActor::SendNext(uint64_t left) {
  if (left == 0) return GoOn();
  const auto partition = static_cast<uint32_t>(random_.Below(TransactionsLoad::kPartitions));
  Send({.name = {number_, serial_}, .life = life_}, partition,
       [this, left, partition](Sent sent) { OnSent(left, partition, sent); });
}

void TransactionActor::Send(const Begun& begun, uint32_t partition, SentDone done) {
  const Life& life = begun.life;
  v1::ProduceBatch batch;
  batch.set_topic(TransactionsLoad::topic());
  batch.set_partition(partition);
  v1::RecordBatch& sent = *batch.mutable_batch();
  sent.set_producer_id(life.producer_id);
  sent.set_producer_epoch(life.epoch);
  const auto known = life.sequences.find(partition);
  sent.set_first_sequence(known == life.sequences.end() ? 0 : known->second);
  sent.set_transaction_number(life.number);
  sent.add_records()->set_value(TextOf(begun.name) + " " + std::string(random_.Below(600), 'x'));
  const uint64_t key = next_sending_++;
  sending_.emplace(key, std::make_unique<Sending>(*this, key, std::move(batch), std::move(done)));
}

void TransactionActor::OnSent(uint64_t left, uint32_t partition, Sent sent) {
  const TransactionsLoad::Name name{number_, serial_};
  switch (sent) {
    case Sent::kStored:
      ++life_.sequences[partition];
      ++load_.Of(name).stored[partition];
      return After(60, [this, left] { SendNext(left - 1); });
    case Sent::kEnded:
      // It took too long.
      MILLRACE_SOMETIMES("a producer was told that its transaction took too long");
      load_.Of(name).is_committed = false;
      return Begin();
    case Sent::kLost:
      return Die();
  }
}

void TransactionActor::GoOn() {
  Begun begun{.name = {number_, serial_}, .life = life_, .commits = false};
  if (random_.OneIn(12)) {
    LiveOn(begun);
    return Die();
  }
  // Longer than it may be, now and then.
  const uint64_t pause_ms = random_.OneIn(15) ? 8'000 : 40;
  After(pause_ms, [this, begun]() mutable {
    begun.commits = !random_.OneIn(3);
    load_.Of(begun.name).may_be_committed = begun.commits;
    End(std::move(begun));
    is_waiting_ = random_.OneIn(2);
    // The next one begins before that is answered.
    if (!is_waiting_) Begin();
  });
}

void TransactionActor::End(Begun begun) {
  ending_.push_back(std::move(begun));
  if (!is_ending_) EndNext();
}

void TransactionActor::EndNext() {
  const Begun& begun = ending_.front();
  is_ending_ = true;
  v1::EndTransactionRequest request;
  request.set_transactional_id(transactional_id_);
  request.set_producer_id(begun.life.producer_id);
  request.set_producer_epoch(begun.life.epoch);
  request.set_transaction_number(begun.life.number);
  request.set_result(begun.commits ? v1::TRANSACTION_RESULT_COMMIT : v1::TRANSACTION_RESULT_ABORT);
  Call("TransactionService/EndTransaction", request,
       [this](const Result<Bytes>& answer) { OnEnded(answer); });
}

void TransactionActor::OnEnded(const Result<Bytes>& answer) {
  if (!answer.ok() && IsPassing(answer.status())) return After(300, [this] { EndNext(); });
  const Begun begun = std::move(ending_.front());
  ending_.pop_front();
  is_ending_ = false;
  SeenTransaction& seen = load_.Of(begun.name);
  std::optional<bool> outcome = begun.commits;
  if (!answer.ok()) outcome = OutcomeIn(answer.status());
  if (outcome.has_value() && seen.is_committed.has_value() && outcome != seen.is_committed) {
    load_.Saw("transaction " + TextOf(begun.name) + " was told to have ended in two ways");
  }
  if (outcome.has_value()) seen.is_committed = outcome;
  MILLRACE_SOMETIMES_IF("a transaction was committed", outcome == true);
  MILLRACE_SOMETIMES_IF("a transaction that was to be committed was aborted",
                        begun.commits && outcome == false);
  if (outcome.has_value() && random_.OneIn(4)) ComeLate(begun);
  if (!ending_.empty()) return EndNext();
  if (std::exchange(is_waiting_, false)) Begin();
}

// A delayed End says of its transaction what it said; the other way it is refused. Neither does
// anything to the one that is open by now.
void TransactionActor::ComeLate(const Begun& begun) {
  const bool commits = random_.OneIn(2);
  v1::EndTransactionRequest request;
  request.set_transactional_id(transactional_id_);
  request.set_producer_id(begun.life.producer_id);
  request.set_producer_epoch(begun.life.epoch);
  request.set_transaction_number(begun.life.number);
  request.set_result(commits ? v1::TRANSACTION_RESULT_COMMIT : v1::TRANSACTION_RESULT_ABORT);
  After(150, [this, begun, commits, request] {
    Call("TransactionService/EndTransaction", request,
         [this, begun, commits](const Result<Bytes>& answer) {
           // One without records, which was passed over, may end in any way.
           const SeenTransaction& seen = load_.Of(begun.name);
           const bool is_so = seen.stored.empty() || seen.is_committed == commits;
           if (!answer.ok() || is_so) return;
           load_.Saw("transaction " + TextOf(begun.name) + " ended once more, in another way");
         });
  });
}

void TransactionActor::Finish() {
  if (is_ending_) {
    is_waiting_ = true;  // Begin comes here again
    return;
  }
  load_.OnIdle();
}

void TransactionActor::Die() {
  if (is_ending_) {
    // Whoever waits for an answer is heard out.
    return After(200, [this] { Die(); });
  }
  is_waiting_ = false;
  Init(random_.Next() | 1);
}

// As one that was paused while another took its place: it must get nowhere once that has begun.
void TransactionActor::LiveOn(const Begun& left) {
  After(3'000, [this, left] {
    const bool was_fenced = life_.epoch > left.life.epoch;
    if (!was_fenced) return;
    v1::EndTransactionRequest request;
    request.set_transactional_id(transactional_id_);
    request.set_producer_id(left.life.producer_id);
    request.set_producer_epoch(left.life.epoch);
    request.set_transaction_number(left.life.number);
    request.set_result(v1::TRANSACTION_RESULT_COMMIT);
    MILLRACE_SOMETIMES("a producer that was fenced tried to commit");
    Call("TransactionService/EndTransaction", request, [this, left](const Result<Bytes>& answer) {
      if (!answer.ok()) return;
      load_.Saw("transaction " + TextOf(left.name) + " was committed by who was fenced");
    });
    Send(left, static_cast<uint32_t>(random_.Below(TransactionsLoad::kPartitions)),
         [this, left](Sent sent) {
           if (sent != Sent::kStored) return;
           load_.Saw("transaction " + TextOf(left.name) + " was written to by who was fenced");
         });
  });
}

}  // namespace millrace::sim
