#include "tests/simulation/broker/topic_churn.h"

#include <utility>

#include "proto/base/coverage.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

}  // namespace

TopicChurn::TopicChurn(SimWorld& world, SimCluster& cluster, History& history, Random random)
    : world_(world),
      cluster_(cluster),
      history_(history),
      random_(random),
      own_(world, cluster.edge(), cluster.addresses(), "churn") {}

TopicChurn::~TopicChurn() = default;

void TopicChurn::Again(void (TopicChurn::*step)()) {
  own_.process.executor().RunAfter(milliseconds(random_.Between(10, 1000)), [this, step] {
    if (!is_stopped_) (this->*step)();
  });
}

// An answer that got lost leaves the topic there or not: ALREADY_EXISTS and NOT_FOUND tell.
void TopicChurn::Create() {
  v1::CreateTopicRequest request;
  request.set_name(topic());
  request.set_partition_count(kPartitions);
  request.set_replication_factor(0);
  own_.client.CreateTopic(
      request, seconds(10), [this](const Result<v1::CreateTopicResponse>& reply) {
        if (is_stopped_) return;
        const bool is_there = reply.ok() || reply.status().code() == Code::kAlreadyExists;
        if (!is_there) return Again(&TopicChurn::Create);
        Write();
      });
}

void TopicChurn::Write() {
  ++incarnation_;
  MILLRACE_SOMETIMES_IF("a topic came back under its old name", incarnation_ > 1);
  producer_ = std::make_unique<SimProducer>(world_, cluster_.edge(), cluster_.addresses(),
                                            SimProducerOptions{.topic = topic(),
                                                               .number = HistoryBase(),
                                                               .history_base = HistoryBase(),
                                                               .delivery_timeout = seconds(60),
                                                               .may_fail = true},
                                            history_, [](const Acknowledgement&) {});
  own_.process.executor().RunAfter(milliseconds(random_.Between(50, 4000)), [this] {
    if (!is_stopped_) Delete();
  });
}

void TopicChurn::Delete() {
  DropProducer();
  v1::DeleteTopicRequest request;
  request.set_name(topic());
  own_.client.DeleteTopic(
      request, seconds(10), [this](const Result<v1::DeleteTopicResponse>& reply) {
        if (is_stopped_) return;
        const bool is_gone = reply.ok() || reply.status().code() == Code::kNotFound;
        if (!is_gone) return Again(&TopicChurn::Delete);
        Again(&TopicChurn::Create);
      });
}

void TopicChurn::DropProducer() {
  if (producer_ == nullptr) return;
  producer_->process().Kill();
  producer_.reset();
  for (uint32_t i = 0; i < kPartitions; ++i) history_.TopicDeleted(HistoryBase() + i);
}

void TopicChurn::Stop(MoveFunction<void()> done) {
  is_stopped_ = true;
  if (producer_ == nullptr) return done();
  producer_->StopAndFlush(std::move(done));
}

void TopicChurn::ReadBack() {
  reader_ = std::make_unique<SimConsumer>(
      world_, cluster_.edge(), cluster_.addresses(),
      SimConsumerOptions{.topic = topic(), .name = "churn reader", .history_base = HistoryBase()},
      history_);
}

}  // namespace millrace::sim
