// Package admin serves operators: metrics for Prometheus, and the admin API, with
// which deliveries are looked at, sent again and deleted. It has a client for
// the API, too.
package admin
