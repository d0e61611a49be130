#include "raft/host/puller.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::raft {
namespace {

// After so long without an answer another one may be asked.
constexpr Duration kAnswerTime = std::chrono::seconds(2);

}  // namespace

Puller::Question& Puller::Begin(const ReplicaId& puller, const Voter& source) {
  Forget(puller.group);
  Question& question = questions_[puller.group];
  question.source = source;
  question.route = {.group = puller.group,
                    .source = source.number,
                    .puller = puller.number,
                    .request_id = ids_.Next()};
  question.timer = environment_.executor.RunAfter(
      kAnswerTime, lifetime_.Guard([this, group = puller.group] { OnNoAnswer(group); }));
  return question;
}

void Puller::Send(const Question& question, PeerKind kind, Bytes body) {
  environment_.transport.SendPeer(question.source.broker, Lane::kControl, kind, {std::move(body)});
}

void Puller::AskRange(const ReplicaId& puller, const Voter& source, LogIndex first,
                      uint64_t bytes_max, RangeDone done) {
  Question& question = Begin(puller, source);
  question.range_done = std::move(done);
  Send(question, PeerKind::kRangeRequest,
       Encode(RangeRequest{.route = question.route, .first = first, .bytes_max = bytes_max}));
}

void Puller::AskState(const ReplicaId& puller, const Voter& source, StateDone done) {
  Question& question = Begin(puller, source);
  question.state_done = std::move(done);
  Send(question, PeerKind::kStateRequest, Encode(StateRequest{.route = question.route}));
}

Puller::Question* Puller::Answered(const BrokerIncarnation& from, const PullRoute& route) {
  const auto found = questions_.find(route.group);
  if (found == questions_.end()) return nullptr;
  Question& question = found->second;
  const bool is_it = question.route.request_id == route.request_id &&
                     question.route.puller == route.puller && question.source.holder() == from;
  return is_it ? &question : nullptr;
}

Puller::Question Puller::End(RaftGroupId group) {
  const auto found = questions_.find(group);
  Question question = std::move(found->second);
  questions_.erase(found);
  environment_.executor.Cancel(question.timer);
  return question;
}

void Puller::OnNoAnswer(RaftGroupId group) {
  Question question = End(group);
  Status why = Unavailable("broker " + std::to_string(question.source.broker.value()) +
                           " did not answer in time");
  if (question.range_done) return question.range_done(std::move(why));
  question.state_done(std::move(why));
}

void Puller::OnRangeReply(const BrokerIncarnation& from, const Bytes& body) {
  Result<RangeReply> reply = DecodeRangeReply(body);
  LOG_IF(ERROR, !reply.ok()) << "a range that was asked for cannot be read from=" << from.broker
                             << " why=" << reply.status();
  const Question* question = reply.ok() ? Answered(from, reply->route) : nullptr;
  if (question == nullptr || !question->range_done) return;
  const RaftGroupId group = reply->route.group;
  End(group).range_done(std::move(reply));
}

void Puller::OnStatePiece(const BrokerIncarnation& from, const Bytes& body) {
  Result<StatePiece> piece = DecodeStatePiece(body);
  LOG_IF(ERROR, !piece.ok()) << "a state that was asked for cannot be read from=" << from.broker
                             << " why=" << piece.status();
  Question* question = piece.ok() ? Answered(from, piece->route) : nullptr;
  if (question == nullptr || !question->state_done) return;
  if (piece->position != question->pieces.size()) return;
  question->pieces += piece->piece.view();
  if (question->pieces.size() < piece->size) return;
  piece->piece = Bytes::Own(std::move(question->pieces));
  const RaftGroupId group = piece->route.group;
  End(group).state_done(std::move(piece));
}

void Puller::Forget(RaftGroupId group) {
  if (questions_.contains(group)) End(group);
}

void Puller::Stop() {
  lifetime_.End();
  while (!questions_.empty()) Forget(questions_.begin()->first);
}

}  // namespace millrace::raft
