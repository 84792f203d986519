package config

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// address checks a host:port to listen on.
func (v *validator) address(key, address, example string) {
	if problem := listenAddrProblem(address, example); problem != "" {
		v.fault(key, "is %s, which %s", quote(address), problem)
	}
}

// listenAddrProblem returns why a process cannot listen on an address, or "". It asks no resolver: it accepts every
// host that could be a name.
func listenAddrProblem(address, example string) string {
	if problem := textProblem(address); problem != "" {
		return problem
	}
	remedy := ": write host:port, such as " + example
	host, port, err := net.SplitHostPort(address)
	_, notIP := netip.ParseAddr(strings.Trim(address, "[]"))
	switch {
	case strings.Contains(address, "/"):
		return "contains a scheme or a path" + remedy
	case err != nil && isPort(address):
		return "is only a port: write " + example[:strings.LastIndexByte(example, ':')+1] + address
	case err != nil && strings.Count(address, ":") > 1 && !strings.HasPrefix(address, "["):
		return "has several colons: put an IPv6 address in brackets, such as [::1]:8080, and write one address only"
	case err != nil && (notIP == nil || !strings.Contains(address, ":")):
		return "has no port" + remedy
	case err != nil:
		return "is not an address" + remedy
	case !isPort(port):
		return "has no port from 0 to 65535" + remedy
	case host == "*":
		return "has a host that no process can listen on: write :" + port + " to listen on every interface"
	case host != "" && hostProblem(host) != "":
		return hostProblem(host) + remedy
	}
	return ""
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

const hostLabel = `[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?`

var (
	hostPattern = regexp.MustCompile(`^` + hostLabel + `(?:\.` + hostLabel + `)*\.?$`)
	// numberPattern is the last label of a host that is meant as an IPv4 address: no top-level domain is a number.
	numberPattern = regexp.MustCompile(`(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?$`)
)

// hostProblem returns why a host, without brackets, can be neither an IP address of one machine nor a name.
func hostProblem(host string) string {
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && (addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})):
		return "has an IP address of many machines"
	case err == nil:
		return ""
	case strings.Contains(host, ":"), numberPattern.MatchString(host):
		return "has a host that is no valid IP address"
	case !hostPattern.MatchString(host):
		return "has a host that is no valid name"
	}
	return ""
}

// sameAddress reports whether one process cannot listen on both addresses.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil {
		return false
	}
	numberA, errA := strconv.ParseUint(portA, 10, 16)
	numberB, errB := strconv.ParseUint(portB, 10, 16)
	if errA != nil || errB != nil || numberA != numberB || numberA == 0 {
		return false
	}
	hostA, hostB = canonicalHost(hostA), canonicalHost(hostB)
	return hostA == hostB || hostA == "" || hostB == ""
}

// canonicalHost returns one text for a host to listen on, "" for every interface. Go listens on 127.0.0.1 for
// localhost.
func canonicalHost(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" {
		return "127.0.0.1"
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return host
	case addr.IsUnspecified():
		return ""
	}
	return addr.Unmap().String()
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}
