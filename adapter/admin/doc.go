// Package admin serves operators: it exports metrics for Prometheus, and has the admin API and its client. Through the
// API an operator looks at deliveries, sends them again and deletes them.
package admin
