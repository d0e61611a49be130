// A topic whose records are all gone, and that nothing is written to any more: what it takes on the
// disks then.
#include <chrono>
#include <string>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "tests/simulation/broker/topic_rig.h"

namespace millrace::sim {
namespace {

using std::chrono::seconds;

void ExpectEmptyDisks(TopicRig& rig, uint64_t seed) {
  for (size_t broker = 0; broker < rig.cluster().size(); ++broker) {
    EXPECT_LT(rig.BytesOnDisk(broker), 64u << 10) << "seed=" << seed << " broker=" << broker + 1;
  }
}

TEST(SilentTopicTest, ATopicWhoseRecordsAreGone_TakesNoRoom) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    TopicRig rig(seed);
    rig.Produce(20, 10'000);
    rig.world().RunFor(seconds(3));
    for (size_t broker = 0; broker < 3; ++broker) EXPECT_GT(rig.BytesOnDisk(broker), 200'000u);
    rig.DeleteAll();
    rig.world().RunFor(seconds(20));
    ExpectEmptyDisks(rig, seed);
  }
}

// Replicas end their files by themselves, and so at other entries. One that was away for a while
// ended its first file later than the others: what it has behind that, as their leader, is not
// worth an entry, and what they have is.
TEST(SilentTopicTest, NorDoesAFollower_WhoseLastFileIsLargerThanItsLeaders) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    TopicRig rig(seed);
    const size_t late = (rig.Leader() + 1) % 3;
    rig.Produce(20, 10'000);
    for (size_t i = 0; i < 3; ++i) {
      rig.world().Partition(rig.cluster().host(late), rig.cluster().host(i));
    }
    rig.Produce(15, 10'000);
    rig.world().HealAll();
    rig.world().RunFor(seconds(5));
    rig.Produce(1, 10'000);
    rig.MakeLead(late);
    rig.DeleteAll();
    rig.world().RunFor(seconds(20));
    ExpectEmptyDisks(rig, seed);
  }
}

}  // namespace
}  // namespace millrace::sim
