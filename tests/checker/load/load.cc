#include "tests/checker/load/load.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::checker {
namespace {

constexpr Duration kPollInterval = std::chrono::milliseconds(20);

}  // namespace

Load::Load(Environment environment, LoadOptions options, Recorder& recorder, EndHandler on_end)
    : environment_(std::move(environment)),
      options_(std::move(options)),
      recorder_(recorder),
      on_end_(std::move(on_end)) {
  CHECK_GT(options_.producers, 0u);
}

Load::~Load() {
  environment_.executor.Cancel(deadline_);
  environment_.executor.Cancel(poll_);
}

// One for each process: they share nothing but the channels to the brokers.
client::Client& Load::NewClient() {
  clients_.push_back(std::make_unique<client::Client>(
      client::Client::Environment{.executor = environment_.executor,
                                  .clock = environment_.clock,
                                  .connector = environment_.connector,
                                  .random = environment_.random.Fork()},
      client::ClientOptions{.bootstrap = options_.bootstrap}));
  return *clients_.back();
}

void Load::AddReader() {
  readers_.push_back(std::make_unique<LoadReader>(NewClient(), recorder_, options_.topic));
  readers_.back()->Start();
}

void Load::Start() {
  for (uint32_t i = 0; i < options_.producers; ++i) {
    producers_.push_back(std::make_unique<LoadProducer>(
        NewClient(), recorder_,
        LoadProducer::Options{
            .topic = options_.topic,
            .records_per_second = options_.records_per_second / options_.producers}));
    producers_.back()->Start();
  }
  for (uint32_t i = 0; i < options_.readers; ++i) AddReader();
  if (options_.delete_interval == Duration(0)) return;
  deleter_ = std::make_unique<LoadDeleter>(
      NewClient(), recorder_,
      LoadDeleter::Options{.topic = options_.topic, .interval = options_.delete_interval});
  deleter_->Start();
}

void Load::Stop() {
  CHECK_EQ(flushing_, 0u) << "Stop is called once";
  flushing_ = producers_.size();
  deadline_ = environment_.executor.RunAfter(options_.drain_timeout, [this] {
    std::string what = std::to_string(flushing_) + " producers not flushed";
    for (size_t i = 0; i < readers_.size(); ++i) {
      const std::string missing = readers_[i]->Missing(recorder_.ends());
      if (!missing.empty()) what += "; reader " + std::to_string(i) + ": " + missing;
    }
    End(DeadlineExceeded("the load did not drain: " + what));
  });
  for (auto& producer : producers_) producer->StopAndFlush([this] { OnFlushed(); });
}

void Load::OnFlushed() {
  if (--flushing_ > 0) return;
  if (deleter_ == nullptr) return ReadBack();
  deleter_->Stop([this] { ReadBack(); });
}

void Load::ReadBack() {
  AddReader();
  AwaitReaders();
}

void Load::AwaitReaders() {
  for (const auto& reader : readers_) {
    if (reader->HasReached(recorder_.ends())) continue;
    poll_ = environment_.executor.RunAfter(kPollInterval, [this] { AwaitReaders(); });
    return;
  }
  End(Status::Ok());
}

void Load::End(const Status& status) {
  if (std::exchange(has_ended_, true)) return;
  on_end_(status);
}

uint64_t Load::producer_restarts() const {
  uint64_t restarts = 0;
  for (const auto& producer : producers_) restarts += producer->restarts();
  return restarts;
}

uint64_t Load::reader_restarts() const {
  uint64_t restarts = 0;
  for (const auto& reader : readers_) restarts += reader->restarts();
  return restarts;
}

Status Load::last_error() const {
  for (const auto& reader : readers_) {
    if (!reader->last_error().ok()) return reader->last_error();
  }
  for (const auto& producer : producers_) {
    if (!producer->last_error().ok()) return producer->last_error();
  }
  return {};
}

}  // namespace millrace::checker
