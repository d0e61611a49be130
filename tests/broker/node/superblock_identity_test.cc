// What a broker keeps of itself, stored while it is stored already.
#include "broker/node/superblock_identity.h"

#include <memory>
#include <optional>

#include <gtest/gtest.h>

#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

class SuperblockIdentityTest : public testing::Test {
 protected:
  ~SuperblockIdentityTest() override { Drop(); }
  void Drop() {
    identity_.reset();
    if (process_.is_alive()) world_.RunFor(std::chrono::milliseconds(10));
    files_.reset();
  }
  // A process on what the disk has.
  Status Open() {
    if (!process_.is_alive()) process_.Restart();
    files_ = std::make_unique<sim::SimFileSystem>(disk_, process_.executor(), process_.Fork());
    std::optional<Status> outcome;
    storage::Superblock::Open(*files_, {.cluster_name = "demo", .broker = BrokerId(1)},
                              process_.Fork(),
                              [&](Result<std::unique_ptr<storage::Superblock>> opened) {
                                outcome = opened.status();
                                if (!opened.ok()) return;
                                identity_ = std::make_unique<SuperblockIdentity>(
                                    std::move(*opened), process_.executor(), process_.executor(),
                                    [](const Status& status) { LOG(FATAL) << status; });
                              });
    world_.RunUntil([&] { return outcome.has_value(); }, std::chrono::seconds(5));
    return outcome.value_or(Internal("no answer"));
  }

  sim::SimWorld world_{1};
  sim::SimDisk disk_;
  sim::SimProcess& process_ = world_.AddProcess("broker");
  std::unique_ptr<sim::SimFileSystem> files_;
  std::unique_ptr<SuperblockIdentity> identity_;
};

TEST_F(SuperblockIdentityTest, TheClustersLevel_IsKept) {
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(identity_->cluster_level(), 0U);
  bool is_durable = false;
  identity_->StoreClusterLevel(1, [&] { is_durable = true; });
  EXPECT_EQ(identity_->cluster_level(), 1U);
  ASSERT_TRUE(world_.RunUntil([&] { return is_durable; }, std::chrono::seconds(5)));
  Drop();
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(identity_->cluster_level(), 1U);
}

// Each store writes both copies, one after the other; two at once would write both at the same
// time.
TEST_F(SuperblockIdentityTest, StoresThatOverlap_NeverCostBothCopies) {
  Random random(7);
  for (uint64_t seed = 0; seed < 500; ++seed) {
    for (uint64_t operation = 1; operation <= 9; ++operation) {
      SCOPED_TRACE("seed=" + std::to_string(seed) + " operation=" + std::to_string(operation));
      disk_.WipeAll();
      ASSERT_TRUE(Open().ok());
      const Incarnation incarnation = identity_->self().incarnation;
      int durable = 0;
      disk_.CrashAtOperation(operation, [this] { process_.Kill(); });
      for (uint32_t level = 1; level <= 3; ++level) {
        identity_->StoreClusterLevel(level, [&durable] { ++durable; });
      }
      world_.RunUntil([&] { return durable == 3 || !process_.is_alive(); },
                      std::chrono::seconds(5));
      disk_.ForgetCrash();
      if (process_.is_alive()) process_.Kill();
      Drop();
      disk_.PowerLoss(random);
      const Status opened = Open();
      ASSERT_TRUE(opened.ok()) << opened;
      EXPECT_EQ(identity_->self().incarnation, incarnation);
      if (durable == 3) {
        EXPECT_EQ(identity_->cluster_level(), 3U);
      }
      Drop();
    }
  }
}

}  // namespace
}  // namespace millrace::broker
