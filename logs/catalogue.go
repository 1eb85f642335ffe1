// SPDX-License-Identifier: Apache-2.0

package logs

// Catalogue is one zero value of every event, in the catalogue's order.
func Catalogue() []Event {
	return []Event{
		Opened{}, Closed{}, Dropped{}, Diagnostic{},
		CheckpointStarted{}, CheckpointAllocation{}, CheckpointFinished{},
		Started{}, Stopping{}, Stopped{},
		OffloadAttached{}, OffloadDetached{}, OffloadTransmitFailing{}, OffloadUnavailable{},
		ConfigLoaded{}, ConfigRejected{}, ConfigApplied{}, ConfigRolledBack{}, ConfigObserved{}, ConfigDrifted{}, ConfigRepaired{},
		AllocationCreated{}, AllocationRefreshed{}, AllocationDeleted{}, AllocationRejected{},
		PermissionCreated{}, PermissionRefreshed{}, PermissionExpired{}, PermissionDenied{},
		ChannelBound{}, ChannelRefreshed{}, ChannelExpired{}, ChannelRejected{},
		AuthRejected{},
		RouteInstalled{}, RouteUpdated{}, RouteRemoved{}, RouteFailed{}, RouteDrifted{}, RouteRepaired{},
		RouteDecision{}, DatapathCounters{},
	}
}
