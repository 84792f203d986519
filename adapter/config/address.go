package config

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// address checks a host:port to listen on.
func (v *validator) address(key, address, example string) {
	if err := checkListenAddr(address, example); err != nil {
		v.fault(key, "is %s, which %v", quote(address), err)
	}
}

// checkListenAddr returns why a process cannot listen on an address. It asks no
// resolver: a name is right if it could be one.
func checkListenAddr(address, example string) error {
	if err := checkText(address); err != nil {
		return err
	}
	remedy := ": write host:port, such as " + example
	if strings.Contains(address, "/") {
		return errors.New("holds a scheme or a path" + remedy)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		_, notIP := netip.ParseAddr(strings.Trim(address, "[]"))
		switch {
		case isPort(address):
			return errors.New("is a port alone: write " + example[:strings.LastIndexByte(example, ':')+1] + address)
		case strings.Count(address, ":") > 1 && !strings.HasPrefix(address, "["):
			return errors.New("has several colons: " +
				"put an IPv6 address in brackets, such as [::1]:8080, and write one address only")
		case notIP == nil || !strings.Contains(address, ":"):
			return errors.New("has no port" + remedy)
		}
		return errors.New("is no address" + remedy)
	}
	if !isPort(port) {
		return errors.New("has no port from 0 to 65535" + remedy)
	}
	if host == "*" {
		return errors.New("has a host that no process can listen on: write :" + port + " to listen on every interface")
	}
	if err := checkHost(host); host != "" && err != nil {
		return errors.New(err.Error() + remedy)
	}
	return nil
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

const hostLabel = `[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?`

var (
	hostPattern = regexp.MustCompile(`^` + hostLabel + `(?:\.` + hostLabel + `)*\.?$`)
	// numberPattern is the last label of a host that is meant as an IPv4 address:
	// no top-level domain is a number.
	numberPattern = regexp.MustCompile(`(?:^|\.)(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?$`)
)

// checkHost returns why a host, without brackets, can be neither an IP address of one
// machine nor a name.
func checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return errors.New("has an IP address of many machines")
		}
		return nil
	}
	switch {
	case strings.Contains(host, ":"), numberPattern.MatchString(host):
		return errors.New("has a host that is no valid IP address")
	case !hostPattern.MatchString(host):
		return errors.New("has a host that is no valid name")
	}
	return nil
}

// sameAddress reports whether one process cannot listen on both.
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
	return sameHost(hostA, hostB) || isEveryHost(hostA) || isEveryHost(hostB)
}

// sameHost compares hosts to listen on. Go listens on 127.0.0.1 for localhost.
func sameHost(a, b string) bool {
	normal := func(host string) string {
		host = strings.ToLower(strings.TrimSuffix(host, "."))
		if host == "localhost" {
			return "127.0.0.1"
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			return addr.Unmap().String()
		}
		return host
	}
	return normal(a) == normal(b)
}

func isEveryHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}
