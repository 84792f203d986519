package config

import (
	"errors"
	"fmt"
	"net/netip"
)

// networksField is a list of networks. A single address is a network of one address.
func networksField(p *[]netip.Prefix) field {
	return list[netip.Prefix]{p, kindNetworks, parseNetwork, netip.Prefix.String}
}

// parseNetwork refuses a network that contains every address: any sender could then claim any address.
func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if address, addressErr := netip.ParseAddr(text); addressErr == nil && address.Zone() == "" {
		network, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	switch {
	case err != nil:
		err = fmt.Errorf("is %s: write an address or a network such as 10.0.0.0/8 or 2001:db8::/32", quote(text))
	case network.Bits() == 0:
		err = errors.New("covers every address: write only the addresses of your proxies")
	case network.Addr().Is4In6():
		err = fmt.Errorf("is %s, an IPv4 address in IPv6 form: write it as IPv4", quote(text))
	case network != network.Masked():
		err = fmt.Errorf("is %s, which has bits set after its prefix: write %s", quote(text), network.Masked())
	}
	return network, err
}
