// What groups have committed, asked of whichever broker answers: as single calls, all pages of a
// list, what may heal asked again, and what is committed together with where partitions end.
//
// Free functions on a Client, on its executor. Each calls `done` within `timeout`; the client
// outlives the call, or `done` is not called.
//
//   FetchOffsets(client, request, timeout, [](Result<v1::FetchOffsetsResponse> committed) { ... });
#pragma once

#include <string>

#include "client/core/client.h"
#include "client/core/range_survey.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/status.h"

namespace millrace::client {

// Asks for page after page.
void ListGroups(Client& client, const std::string& prefix, Duration timeout,
                ResponseDone<v1::ListGroupsResponse> done);
void DescribeGroup(Client& client, const v1::DescribeGroupRequest& request, Duration timeout,
                   ResponseDone<v1::DescribeGroupResponse> done);
// Asks for page after page: a topic may be in the answer several times, one after the other, and
// the total is that of the last page.
void DescribeLag(Client& client, const v1::DescribeLagRequest& request, Duration timeout,
                 ResponseDone<v1::DescribeLagResponse> done);
// NOT_FOUND (UNKNOWN_GROUP), also where a try of this call deleted it whose answer was lost.
void DeleteGroup(Client& client, const v1::DeleteGroupRequest& request, Duration timeout,
                 ResponseDone<v1::DeleteGroupResponse> done);
void DeleteOffsets(Client& client, const v1::DeleteOffsetsRequest& request, Duration timeout,
                   ResponseDone<v1::DeleteOffsetsResponse> done);

// What is refused for a reason that may heal is asked for again until the time is up: the answer
// has what was refused in the end.
void CommitOffsets(Client& client, const v1::CommitOffsetsRequest& request, Duration timeout,
                   ResponseDone<v1::CommitOffsetsResponse> done);
// Asks for page after page: each topic is in the answer once.
void FetchOffsets(Client& client, const v1::FetchOffsetsRequest& request, Duration timeout,
                  ResponseDone<v1::FetchOffsetsResponse> done);
// The same, asked again while a transaction that is open has another offset of one of them.
// DEADLINE_EXCEEDED.
void FetchStableOffsets(Client& client, const v1::FetchOffsetsRequest& request, Duration timeout,
                        ResponseDone<v1::FetchOffsetsResponse> done);
// Asked again while all the errors in the answer may heal. A shift is worked out by a dry run and
// asked for as offsets, so that a try whose answer was lost does not shift twice.
void ResetOffsets(Client& client, const v1::ResetOffsetsRequest& request, Duration timeout,
                  ResponseDone<v1::ResetOffsetsResponse> done);

struct OffsetsSurvey {
  v1::FetchOffsetsResponse committed;
  RangesByTopic ranges;  // of each topic in `committed`
};
void SurveyOffsets(Client& client, const v1::FetchOffsetsRequest& request, Duration timeout,
                   ResponseDone<OffsetsSurvey> done);

}  // namespace millrace::client
