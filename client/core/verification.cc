#include "client/core/verification.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "client/core/error.h"
#include "client/core/replica_survey.h"
#include "client/core/retry.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;

constexpr char kMethod[] = "/millrace.v1.AdminService/DigestReplica";
// Offsets of the first stretch. Later ones are as long as it takes for about so many bytes.
constexpr int64_t kFirstStretch = 1024;
constexpr int64_t kStretchMax = int64_t{1} << 40;
constexpr uint64_t kStretchBytes = 8 << 20;
// Between two looks at what compaction may be changing.
constexpr Duration kSettlePause = milliseconds(500);

// What one member holds of the stretch that is compared, as far as it was told.
struct Sum {
  uint64_t low = 0;
  uint64_t high = 0;
  uint64_t records = 0;
  uint64_t bytes = 0;
  std::optional<uint32_t> pass;  // of compaction; none: not told, or not one alone
  bool is_between_passes = false;

  void Add(const v1::DigestReplicaResponse& more) {
    low += more.digest_low();
    high += more.digest_high() + (low < more.digest_low() ? 1 : 0);
    records += more.record_count();
    bytes += more.bytes();
    is_between_passes = is_between_passes || more.is_compacting() ||
                        (pass.has_value() && *pass != more.compaction_pass());
    pass = more.compaction_pass();
  }
  bool IsSame(const Sum& other) const {
    return low == other.low && high == other.high && records == other.records;
  }
};

struct Member {
  VerifiedMember told;
  std::string address;
  Sum sum;
  Offset at;  // how far it is with the stretch
  RetryState retry;
};

// Why a replica is not asked for records; ok if it can be.
Status MayBeAsked(const Result<v1::DescribeReplicasResponse>& answer) {
  RETURN_IF_ERROR(answer.status());
  if (answer->replicas().empty()) return NotFound("its broker has no replica of the partition");
  const v1::Replica& replica = answer->replicas(0);
  if (replica.has_last_index()) return {};
  if (replica.fault().empty()) return Unavailable("it does not take part yet");
  return FailedPrecondition("it takes no part: " + replica.fault());
}

class Run : public std::enable_shared_from_this<Run> {
 public:
  Run(Client& client, VerifyRequest request, ResponseDone<Verification> done)
      : client_(client),
        request_(std::move(request)),
        random_(client.ForkRandom()),
        done_(std::move(done)) {}

  void Start() {
    SurveyReplicas(client_, {.topic = request_.topic, .partition = request_.partition},
                   request_.patience,
                   [self = shared_from_this()](const Result<ReplicaSurvey>& survey) {
                     if (!survey.ok()) return self->done_(survey.status());
                     self->OnSurvey(*survey);
                   });
  }

 private:
  void OnSurvey(const ReplicaSurvey& survey) {
    topic_id_ = survey.topic.topic_id();
    std::optional<Offset> end;
    for (const uint32_t id : survey.topic.partitions(0).replica_ids()) {
      const BrokerId broker(id);
      const Result<v1::DescribeReplicasResponse>& answer = survey.brokers.at(broker);
      Member& member = members_.emplace_back();
      member.told.broker = broker;
      member.told.status = MayBeAsked(answer);
      member.address = survey.addresses.at(broker);
      if (member.told.status.ok()) {
        const v1::Replica& replica = answer->replicas(0);
        at_ = std::max(at_, Offset(replica.log_start_offset()));
        const Offset high_watermark(replica.high_watermark());
        end = std::min(end.value_or(high_watermark), high_watermark);
      }
    }
    if (!end.has_value()) return done_(NobodyToAsk());
    begin_ = at_;
    end_ = *end;
    CompareNext();
  }

  Status NobodyToAsk() const {
    std::string text;
    for (const Member& member : members_) {
      text += (text.empty() ? "broker " : "; broker ") +
              std::to_string(member.told.broker.value()) + ": " + member.told.status.ToString();
    }
    return Unavailable("no replica can be asked: " + text);
  }

  // Half of what is known to differ, else as much as is meant to be asked for at once.
  Offset EndOfStretch() const {
    if (suspect_end_ > at_) return at_ + std::max<int64_t>((suspect_end_ - at_) / 2, 1);
    return std::min(end_, at_ + stretch_);
  }

  void CompareNext() {
    if (at_ >= end_) return Finish();
    stretch_end_ = EndOfStretch();
    moved_to_ = at_;
    asked_ = 0;
    for (Member& member : members_) {
      if (!member.told.status.ok()) continue;
      ++asked_;
      member.sum = {};
      member.at = at_;
      member.retry.Clear();
    }
    if (asked_ == 0) return Finish();
    for (Member& member : members_) {
      if (member.told.status.ok()) Ask(member);
    }
  }

  void Ask(Member& member) {
    v1::DigestReplicaRequest request;
    request.set_topic_id(topic_id_);
    request.set_partition(request_.partition.value());
    request.set_begin_offset(member.at.value());
    request.set_end_offset(stretch_end_.value());
    client_.CallAt(member.address, kMethod, Bytes::Own(request.SerializeAsString()),
                   request_.patience,
                   [self = shared_from_this(), &member](const Result<Bytes>& result) {
                     self->OnAnswer(member, ParseAnswer<v1::DigestReplicaResponse>(result));
                   });
  }

  void OnAnswer(Member& member, const Result<v1::DigestReplicaResponse>& answer) {
    if (!answer.ok()) return OnError(member, answer.status());
    if (BrokerId(answer->broker_id()) != member.told.broker) {
      return OnError(member, Unavailable(member.address + " is broker " +
                                         std::to_string(answer->broker_id())));
    }
    const Offset reached(answer->reached_offset());
    if (reached <= member.at) {
      return OnError(member, Unavailable("it has no more than offset " +
                                         std::to_string(answer->high_watermark()) + " yet"));
    }
    member.retry.Clear();
    member.sum.Add(*answer);
    member.at = reached;
    if (reached < stretch_end_) return Ask(member);
    OnArrived();
  }

  void OnError(Member& member, const Status& error) {
    const std::optional<Offset> log_start = LogStartOf(error);
    if (log_start.has_value() && *log_start > member.at) {
      moved_to_ = std::max(moved_to_, std::min(*log_start, end_));
      return OnArrived();
    }
    const MonotonicTime now = client_.clock().Now();
    const bool was_out_of_range = error.code() == Code::kOutOfRange;  // it has not so much yet
    const Duration failing_for =
        member.retry.failures() == 0 ? Duration(0) : now - member.retry.failing_since();
    const bool may_heal = was_out_of_range || MayHeal(error, failing_for, Duration(0));
    if (!may_heal || failing_for >= request_.patience) {
      member.told.status = error;
      return OnArrived();
    }
    member.retry.Fail(error, now, client_.options().backoff, random_);
    client_.RunAfter(member.retry.at() - now,
                     [self = shared_from_this(), &member] { self->Ask(member); });
  }

  // One of those that were asked is through with the stretch, or out of it.
  void OnArrived() {
    if (--asked_ > 0) return;
    if (moved_to_ > at_) {
      at_ = moved_to_;
      begin_ = bytes_ == 0 ? at_ : begin_;
      return CompareNext();
    }
    const Member* first = nullptr;
    bool is_same = true;
    bool is_settled = true;
    for (const Member& member : members_) {
      if (!member.told.status.ok()) continue;
      if (first == nullptr) first = &member;
      is_same = is_same && member.sum.IsSame(first->sum);
      is_settled =
          is_settled && !member.sum.is_between_passes && member.sum.pass == first->sum.pass;
    }
    if (first == nullptr) return Finish();
    if (is_same) return OnSame(first->sum);
    if (!is_settled) return AwaitCompaction();
    unsettled_since_.reset();
    if (stretch_end_ - at_ == 1) return Finish(at_);
    suspect_end_ = stretch_end_;
    CompareNext();
  }

  void OnSame(const Sum& sum) {
    unsettled_since_.reset();
    records_ += sum.records;
    bytes_ += sum.bytes;
    at_ = stretch_end_;
    for (Member& member : members_) {
      if (member.told.status.ok()) member.told.compared_to = at_;
    }
    if (sum.bytes < kStretchBytes) stretch_ = std::min(stretch_ * 2, kStretchMax);
    if (sum.bytes > 2 * kStretchBytes) stretch_ = std::max<int64_t>(stretch_ / 2, 1);
    CompareNext();
  }

  void AwaitCompaction() {
    const MonotonicTime now = client_.clock().Now();
    unsettled_since_ = unsettled_since_.value_or(now);
    if (now - *unsettled_since_ >= request_.patience) {
      LeaveOutUncompacted();
      unsettled_since_.reset();
      return CompareNext();
    }
    client_.RunAfter(kSettlePause, [self = shared_from_this()] { self->CompareNext(); });
  }

  // Those that have not done the newest pass that any of them has.
  void LeaveOutUncompacted() {
    uint32_t newest = 0;
    for (const Member& member : members_) newest = std::max(newest, member.sum.pass.value_or(0));
    for (Member& member : members_) {
      const bool is_newest = member.sum.pass == newest && !member.sum.is_between_passes;
      if (!member.told.status.ok() || is_newest) continue;
      member.told.status = Unavailable(
          "it differs and has not done pass " + std::to_string(newest) +
          " of compaction, or is doing another one: compare it once that is done, or wait for "
          "longer");
    }
  }

  void Finish(std::optional<Offset> difference = std::nullopt) {
    Verification verified{.begin = begin_,
                          .end = at_,
                          .records = records_,
                          .bytes = bytes_,
                          .first_difference = difference,
                          .members = {}};
    for (Member& member : members_) {
      if (difference.has_value() && member.told.status.ok()) {
        member.told.has_record = member.sum.records > 0;
        member.told.digest_high = member.sum.high;
        member.told.digest_low = member.sum.low;
      }
      verified.members.push_back(std::move(member.told));
    }
    done_(std::move(verified));
  }

  Client& client_;
  const VerifyRequest request_;
  Random random_;
  ResponseDone<Verification> done_;
  uint64_t topic_id_ = 0;
  std::vector<Member> members_;  // of a size that stays, once they are known
  Offset begin_;
  Offset at_;  // all below is compared
  Offset end_;
  int64_t stretch_ = kFirstStretch;
  Offset stretch_end_;
  Offset suspect_end_;  // something in [at_, suspect_end_) differs, if that is not empty
  Offset moved_to_;     // where a member's log starts, if that is past at_
  size_t asked_ = 0;    // members that are not through with the stretch
  std::optional<MonotonicTime> unsettled_since_;
  uint64_t records_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace

void VerifyPartition(Client& client, const VerifyRequest& request,
                     ResponseDone<Verification> done) {
  std::make_shared<Run>(client, request, std::move(done))->Start();
}

}  // namespace millrace::client
