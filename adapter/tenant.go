package adapter

import (
	"strings"

	"segment-saasquatch/mapping"
)

// TenantName returns the name of a tenant in a store: base URL and alias, because an alias is unique
// at one SaaSquatch only. Stores have the names, so they must not change from version to version.
func TenantName(baseURL, alias string) string { return baseURL + "/" + alias }

// TenantAlias returns the alias of the tenant with the name.
func TenantAlias(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// IsTestTenant reports whether the alias is that of a test tenant.
func IsTestTenant(alias string) bool { return strings.HasPrefix(alias, "test_") }

// Held are pending events that are not sent: they were accepted for another tenant than their
// connection has now, or their connection is not configured.
type Held struct {
	// Tenant is the name of the tenant that the events were accepted for.
	Tenant string         `json:"tenant"`
	Reason mapping.Reason `json:"reason"`
	Events int64          `json:"events"`
}

// Remedy says how to have the events sent or deleted.
func (h *Held) Remedy() string {
	if h.Reason == mapping.ReasonConnectionRemoved {
		return "to send them, configure the connection again; to delete them, use deliveries purge"
	}
	return "to send them where they were meant to go, configure that tenant again; " +
		"to send them to the connection's present tenant, use deliveries redrive --to-tenant with its alias; " +
		"to delete them, use deliveries purge"
}

// TenantMove counts a connection's events that were accepted for the tenant From, while To is the
// connection's tenant now. Both are names.
type TenantMove struct {
	Connection string `json:"connection"`
	From       string `json:"from"`
	To         string `json:"to"`
	Events     int    `json:"events"`
}

// Warning names the consequence of a move between a test tenant and a live one; empty for other
// moves.
func (m *TenantMove) Warning() string {
	switch from, to := IsTestTenant(TenantAlias(m.From)), IsTestTenant(TenantAlias(m.To)); {
	case from && !to:
		return "Events of a test tenant go to a live one: there they fire programs and rewards, and cannot be deleted."
	case !from && to:
		return "Events of a live tenant go to a test one: the live one never gets them."
	}
	return ""
}

// TenantMoves counts events by connection and tenants, in order of appearance.
type TenantMoves []TenantMove

// Add adds the events of a move.
func (m *TenantMoves) Add(more TenantMove) {
	for i := range *m {
		if move := &(*m)[i]; move.Connection == more.Connection && move.From == more.From && move.To == more.To {
			move.Events += more.Events
			return
		}
	}
	*m = append(*m, more)
}
