package config

import (
	"maps"
	"testing"
)

func TestShares(t *testing.T) {
	for name, test := range map[string]struct {
		own  map[string]Share
		want map[string]Share
	}{
		"one connection": {map[string]Share{"a": {}}, map[string]Share{"a": {9, 9 * mebibyte}}},
		"equal parts": {map[string]Share{"a": {}, "b": {}},
			map[string]Share{"a": {4, 9 * mebibyte / 2}, "b": {4, 9 * mebibyte / 2}}},
		"one of its own": {map[string]Share{"a": {MaxEvents: 5}, "b": {}, "c": {}},
			map[string]Share{"a": {5, 3 * mebibyte}, "b": {2, 3 * mebibyte}, "c": {2, 3 * mebibyte}}},
		"all of their own": {map[string]Share{"a": {1, mebibyte}, "b": {2, 2 * mebibyte}},
			map[string]Share{"a": {1, mebibyte}, "b": {2, 2 * mebibyte}}},
	} {
		c := Default()
		c.Backlog.MaxEvents, c.Backlog.MaxBytes, c.Connections = 9, 9*mebibyte, nil
		for name, share := range test.own {
			c.Connections = append(c.Connections, Connection{Name: name, Share: share})
		}
		if got := c.Shares(); !maps.Equal(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}
