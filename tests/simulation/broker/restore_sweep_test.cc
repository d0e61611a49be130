// One restore of a replica (raft/host/restorer.h), in whole brokers: the same again and again, and
// each time something happens one call of the puller's file system later. Whatever it is, the
// replica becomes whole and equal to the others, and is still after a power cut.
#include <chrono>
#include <functional>
#include <string>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/base/coverage.h"
#include "tests/simulation/broker/equality.h"
#include "tests/simulation/broker/topic_rig.h"

namespace millrace::sim {
namespace {

using std::chrono::seconds;

// A cluster of which one broker, the puller, has just begun to restore its replica.
class Restoring {
 public:
  Restoring() {
    SimCluster& cluster = rig_.cluster();
    rig_.Produce(2, 1'000);
    rig_.world().RunFor(seconds(1));
    puller_ = (rig_.Leader() + 1) % cluster.size();
    old_last_ = log(puller_)->last_index();
    cluster.Kill(puller_, /*power_loss=*/false);
    rig_.Produce(30, 50'000);
    rig_.DeleteTo(Offset(8));
    rig_.world().RunFor(seconds(1));
    cluster.SetDeathListener([this](size_t broker, const Status&) { StartLater(broker); });
    cluster.Start(puller_);
    const auto has_begun = [&] {
      return cluster.is_serving(puller_) && cluster.node(puller_).host().restores_under_way() > 0;
    };
    CHECK(rig_.world().RunUntil(has_begun, seconds(60)));
    calls_before_ = disk().calls();
  }

  TopicRig& rig() { return rig_; }
  size_t puller() const { return puller_; }
  SimDisk& disk() { return rig_.cluster().disk(puller_); }
  uint64_t calls() { return disk().calls() - calls_before_; }
  bool IsRestored() {
    const raft::core::Log* restored = log(puller_);
    return restored != nullptr && restored->begin().index > old_last_;
  }
  void RunUntilRestored() { RunUntilCall(UINT64_MAX); }
  // Until so many calls were made, or it is restored.
  void RunUntilCall(uint64_t call) {
    EXPECT_TRUE(rig_.world().RunUntil([&] { return calls() >= call || IsRestored(); }, seconds(60)))
        << "it was not restored";
  }
  void KillAndStart(size_t broker, bool power_loss) {
    if (!rig_.cluster().is_up(broker)) return;
    rig_.cluster().Kill(broker, power_loss);
    StartLater(broker);
  }
  // "" or what is wrong in the end.
  std::string Complete() {
    EqualityCheck equality(rig_.cluster());
    const auto is_whole = [&] { return IsRestored() && equality.Holds(); };
    if (!rig_.world().RunUntil(is_whole, seconds(60))) return "it did not become equal";
    rig_.cluster().Kill(puller_, /*power_loss=*/true);
    rig_.cluster().Start(puller_);
    const auto is_there = [&] { return log(puller_) != nullptr; };
    if (!rig_.world().RunUntil(is_there, seconds(60))) return "it did not come back";
    if (!IsRestored()) return "the power cut brought the old log back";
    if (!rig_.world().RunUntil(is_whole, seconds(60))) return "it is not equal after a power cut";
    return "";
  }

 private:
  const raft::core::Log* log(size_t broker) {
    if (!rig_.cluster().is_serving(broker)) return nullptr;
    const raft::Replica* replica = rig_.cluster().node(broker).host().Find(rig_.group());
    return replica != nullptr && replica->has_joined() ? &replica->core().log() : nullptr;
  }
  void StartLater(size_t broker) {
    rig_.world().After(seconds(1), [this, broker] {
      if (!rig_.cluster().is_up(broker)) rig_.cluster().Start(broker);
    });
  }

  TopicRig rig_{1, {.segment_bytes = 128 << 10}};
  size_t puller_ = 0;
  LogIndex old_last_;  // of the puller's log, before
  uint64_t calls_before_ = 0;
};

uint64_t Reached(const std::string& state) { return CoverageCounter::All()[state]; }

class RestoreSweepTest : public testing::Test {
 protected:
  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    Restoring undisturbed;
    undisturbed.RunUntilRestored();
    calls_ = undisturbed.calls();
    ASSERT_GT(calls_, 30u);
    ASSERT_EQ(undisturbed.Complete(), "");
  }
  // `disturb` at each `every`-th call. Some of them must have reached that state.
  void Sweep(uint64_t every, const std::string& state,
             const std::function<void(Restoring&, uint64_t)>& disturb) {
    const uint64_t before = Reached(state);
    for (uint64_t call = 1; call <= calls_; call += every) {
      Restoring restoring;
      disturb(restoring, call);
      ASSERT_EQ(restoring.Complete(), "") << "call=" << call;
    }
    EXPECT_GT(Reached(state), before) << state;
  }
  // Once that call is made. Every third one, for the sake of time.
  void SweepAfter(const std::string& state, const std::function<void(Restoring&)>& disturb) {
    Sweep(3, state, [&disturb](Restoring& restoring, uint64_t call) {
      restoring.RunUntilCall(call);
      disturb(restoring);
    });
  }
  void FailEachCall(const Status& error) {
    Sweep(1, "a restore ended early", [&error](Restoring& restoring, uint64_t call) {
      bool has_failed = false;
      restoring.disk().FailCall(
          call, error, [&has_failed](SimDisk::Kind, const std::string&) { has_failed = true; });
      restoring.RunUntilRestored();
      restoring.disk().ForgetFaults();
      EXPECT_TRUE(has_failed) << "call=" << call;
    });
  }

  uint64_t calls_ = 0;  // of the puller's file system, from its beginning to its end
};

TEST_F(RestoreSweepTest, ThePullersNthCall_MayFailWithAnInputOutputError) {
  FailEachCall(Unavailable("Input/output error"));
}

TEST_F(RestoreSweepTest, ThePullersNthCall_MayFindNoRoom) {
  FailEachCall(ResourceExhausted("No space left on device", Reason::kDiskFull));
}

TEST_F(RestoreSweepTest, ThePuller_MayLosePower_AtAnyCall) {
  SweepAfter("a restored log took the place of another", [](Restoring& restoring) {
    restoring.KillAndStart(restoring.puller(), /*power_loss=*/true);
  });
}

// Nobody but the next leader is there to go on from.
TEST_F(RestoreSweepTest, TheSource_MayBeGone_FromAnyCallOn) {
  SweepAfter("a restore changed its source", [](Restoring& restoring) {
    const size_t source = restoring.rig().Leader();
    restoring.rig().cluster().Kill(source, /*power_loss=*/true);
    restoring.RunUntilRestored();
    restoring.rig().cluster().Start(source);
  });
}

// It goes on to answer, and others tell the replica that they lead.
TEST_F(RestoreSweepTest, TheSource_MayLoseTheLead_AtAnyCall) {
  SweepAfter("a restored log took the place of another", [](Restoring& restoring) {
    TopicRig& rig = restoring.rig();
    const size_t source = rig.Leader();
    rig.cluster().node(source).host().SetMayLead(false);
    EXPECT_TRUE(rig.world().RunUntil([&] { return !rig.Leads(source); }, seconds(10)));
  });
}

TEST_F(RestoreSweepTest, TheSourcesLog_MayBeginLater_AtAnyCall) {
  SweepAfter("a restore was overtaken by retention",
             [](Restoring& restoring) { restoring.rig().DeleteAll(); });
}

}  // namespace
}  // namespace millrace::sim
