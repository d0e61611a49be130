// Groups that commit what they have read and ask for it again, at any broker, while the run goes
// on: what was acknowledged is fetched, and an offset goes back only by a reset. A commit whose
// answer was lost may count, now or later.
//
// Each group has one committer, which waits for each answer. Owned by a run; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "millrace/v1/group_service.pb.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class OffsetsLoad {
 public:
  // `ends`: of the topic's partitions, none lower than what was told before.
  OffsetsLoad(SimWorld& world, SimCluster& cluster, History& history, Random random,
              std::function<std::vector<Offset>()> ends);

  void Start();
  // Each asks once more for what it committed, at a broker that serves; then it is idle.
  void Stop() { is_stopped_ = true; }
  bool is_idle() const;

 private:
  // What a partition's offset may be: what was acknowledged last, none if that was a deletion, or
  // what a request asked for whose fate is open.
  struct Known {
    std::optional<int64_t> acknowledged;
    std::multiset<int64_t> open;
    int open_deletions = 0;
    void Close(int64_t offset) { open.erase(open.find(offset)); }
  };
  struct Committer {
    std::string group;
    std::map<uint32_t, Known> offsets;
    bool is_done = false;
  };

  void Next(Committer* committer);
  void Commit(Committer* committer);
  void Reset(Committer* committer);
  void Delete(Committer* committer);
  void Fetch(Committer* committer);
  void OnCommitted(Committer* committer, const v1::CommitOffsetsRequest& request,
                   const Result<Bytes>& answer);
  void OnReset(Committer* committer, const Result<Bytes>& answer);
  void OnFetched(Committer* committer, const Result<Bytes>& answer);
  void Check(const Committer& committer, uint32_t partition, std::optional<int64_t> offset);
  template <typename Request>
  void Call(const std::string& method, const Request& request, client::RpcDone done);

  SimWorld& world_;
  SimCluster& cluster_;
  History& history_;
  Random random_;
  std::function<std::vector<Offset>()> ends_;
  SimProcess& process_;
  SimConnector connector_;
  std::vector<Committer> committers_;
  bool is_stopped_ = false;
};

}  // namespace millrace::sim
