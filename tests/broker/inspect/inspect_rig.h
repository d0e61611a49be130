// Inspects a simulated disk, and holds that nothing on it changed by that.
//
// One thread.
//
//   Result<Report> report = InspectDisk(world, disk, {.verify = true});
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/inspect/inspection.h"
#include "tests/support/sim_file/sim_disk.h"
#include "tests/support/sim_file/sim_file_system.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {

inline std::map<std::string, std::string> ContentsOf(const sim::SimDisk& disk) {
  std::map<std::string, std::string> contents;
  for (const std::string& path : disk.Paths()) contents[path] = *disk.Content(path);
  return contents;
}

inline Result<Report> InspectDisk(sim::SimWorld& world, sim::SimDisk& disk,
                                  const Inspection::Options& options = {}) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  static int count = 0;  // two processes of a world cannot have one name
  sim::SimProcess& process = world.AddProcess("inspect" + std::to_string(++count));
  sim::SimFileSystem files(disk, process.executor(), process.Fork());
  const auto before = ContentsOf(disk);
  const uint64_t operations = disk.operations();
  std::optional<Result<Report>> outcome;
  Inspection::Run(options,
                  {.executor = process.executor(), .files = files, .clock = process.clock()},
                  [&outcome](Result<Report> report) { outcome.emplace(std::move(report)); });
  CHECK(world.RunUntil([&] { return outcome.has_value(); }, std::chrono::seconds(60)));
  EXPECT_EQ(ContentsOf(disk), before);
  EXPECT_EQ(disk.operations(), operations) << "something was to be changed";
  process.Kill();
  return std::move(*outcome);
}

}  // namespace millrace::broker
