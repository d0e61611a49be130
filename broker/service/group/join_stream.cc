#include "broker/service/group/join_stream.h"

#include <utility>

#include <glog/logging.h>

#include "broker/service/group/join_request.h"
#include "millrace/v1/group_service.pb.h"

namespace millrace::broker {
namespace {

// What the client does not take, past which its stream is not read.
constexpr uint64_t kPendingBytesMax = 64 << 10;

class JoinStream final : public StreamHandler {
 public:
  JoinStream(const MemberSession::Environment& environment, std::shared_ptr<Stream> stream)
      : stream_(std::move(stream)),
        session_(environment, stream_->principal(),
                 {.tell = [this] { Tell(); },
                  .commit = [this](v1::CommitResult result) { TellResult(std::move(result)); },
                  .end =
                      [this](const Status& why) {
                        is_over_ = true;
                        stream_->Finish(why);
                      }}) {}

  void OnMessage(Bytes message) override;
  void OnHalfClose() override;
  void OnWritable() override { Tell(); }
  void OnClosed() override;

 private:
  Status Take(const v1::JoinRequest& said);
  void Tell();
  void TellAssignment();
  void TellResult(v1::CommitResult result);
  void Write(const v1::JoinResponse& response) {
    stream_->Write({Bytes::Own(response.SerializeAsString())});
  }
  void UpdateReading();
  void Finish(const Status& status);

  const std::shared_ptr<Stream> stream_;
  bool is_over_ = false;
  bool is_reading_ = true;
  bool is_joined_told_ = false;
  bool is_assignment_pending_ = false;  // the transport may not have taken it
  MemberSession session_;
};

void JoinStream::OnMessage(Bytes message) {
  if (is_over_ || session_.is_leaving()) return;
  const Result<v1::JoinRequest> said = ParseJoinRequest(message);
  const Status taken = said.ok() ? Take(*said) : said.status();
  if (!taken.ok()) return Finish(taken);
  UpdateReading();
  session_.Proceed();
}

Status JoinStream::Take(const v1::JoinRequest& said) {
  if (said.has_init() != !session_.has_begun()) {
    return InvalidArgument(said.has_init() ? "`init` may only be a Join stream's first message"
                                           : "the first message of a Join stream must be `init`");
  }
  session_.Hear();
  switch (said.message_case()) {
    case v1::JoinRequest::kInit:
      return session_.Begin(said.init());
    case v1::JoinRequest::kSubscription:
      return session_.Subscribe(said.subscription());
    case v1::JoinRequest::kDone:
      return session_.Answer(said.done());
    case v1::JoinRequest::kCommit:
      session_.Commit(said.commit());
      return {};
    case v1::JoinRequest::kPing:
      session_.Ping();
      return {};
    case v1::JoinRequest::kLeave:
      return session_.Leave(said.leave());
    case v1::JoinRequest::MESSAGE_NOT_SET:
      break;
  }
  LOG(FATAL) << "ParseJoinRequest took a message that says nothing";
}

void JoinStream::OnHalfClose() {
  if (!is_over_ && !session_.has_begun()) {
    return Finish(InvalidArgument("a Join stream without `init`"));
  }
  session_.HalfClose();
  session_.Proceed();
}

void JoinStream::OnClosed() {
  is_over_ = true;
  session_.Break();
}

void JoinStream::Tell() {
  if (is_over_) return;
  if (session_.interval_ms().has_value() && !std::exchange(is_joined_told_, true)) {
    v1::JoinResponse response;
    response.mutable_joined()->set_member_epoch(session_.news().member_epoch());
    response.mutable_joined()->set_interval_ms(*session_.interval_ms());
    Write(response);
    TellAssignment();
  }
  if (stream_->pending_bytes() == 0) is_assignment_pending_ = false;
  if (session_.has_news() && !is_assignment_pending_) TellAssignment();
  v1::JoinResponse pong;
  pong.mutable_pong();
  for (uint64_t pongs = session_.TakePongs(); pongs > 0; --pongs) Write(pong);
  UpdateReading();
}

void JoinStream::TellAssignment() {
  v1::JoinResponse response;
  *response.mutable_assignment() = session_.TakeNews();
  Write(response);
  is_assignment_pending_ = true;
}

void JoinStream::TellResult(v1::CommitResult result) {
  v1::JoinResponse response;
  *response.mutable_commit() = std::move(result);
  Write(response);
}

void JoinStream::UpdateReading() {
  if (is_over_) return;
  const bool should_read = session_.has_room() && stream_->pending_bytes() < kPendingBytesMax;
  if (should_read == is_reading_) return;
  is_reading_ = should_read;
  stream_->SetReading(should_read);
}

void JoinStream::Finish(const Status& status) {
  if (std::exchange(is_over_, true)) return;
  session_.Break();
  stream_->Finish(status);
}

}  // namespace

std::unique_ptr<StreamHandler> MakeJoinStream(const MemberSession::Environment& environment,
                                              std::shared_ptr<Stream> stream) {
  return std::make_unique<JoinStream>(environment, std::move(stream));
}

}  // namespace millrace::broker
