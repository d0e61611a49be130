// A store with one group, whose files a test damages or replaces.
//
//   LogStoreRig rig(61);
//   StartFilled(rig, 4);   // three sealed segments, and one that is written on
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "tests/storage/logstore/log_store_rig.h"

namespace millrace::storage {

inline constexpr uint64_t kGroupNumber = 2;
inline constexpr RaftGroupId kGroup{kGroupNumber};
inline constexpr raft::ReplicaId kReplica{kGroup, LogStoreRig::kNumber};

// Segments of a group, oldest first.
inline std::vector<std::string> FilesOf(LogStoreRig& rig, uint64_t group) {
  std::vector<std::string> files;
  const std::string folder = GroupDirectory(RaftGroupId(group)) + "/";
  for (const std::string& path : rig.disk().Paths()) {
    if (path.starts_with(folder) && path.ends_with(".segment")) files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  return files;
}
inline std::vector<std::string> Files(LogStoreRig& rig) { return FilesOf(rig, kGroupNumber); }

// Until there are so many, all synced; the last one is written on.
inline void FillFiles(LogStoreRig& rig, size_t files) {
  while (Files(rig).size() < files) {
    rig.Append(kGroupNumber, 4, 900);
    rig.Settle();
    rig.Commit(kGroupNumber);
    rig.RunFor(std::chrono::milliseconds(50));
  }
  rig.RunFor(std::chrono::milliseconds(200));
}

inline void StartFilled(LogStoreRig& rig, size_t files) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(kGroupNumber);
  FillFiles(rig, files);
  ASSERT_EQ(rig.CompareSegments(kGroupNumber), "");
}

}  // namespace millrace::storage
