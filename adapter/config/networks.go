package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"go.yaml.in/yaml/v3"
)

// networksField is a list of networks. An address alone is a network of one.
type networksField struct{ p *[]netip.Prefix }

func (f networksField) kind() kind { return kindNetworks }
func (f networksField) node() *yaml.Node {
	texts := make([]string, len(*f.p))
	for i, network := range *f.p {
		texts[i] = network.String()
	}
	return sequenceNode(texts)
}

// set splits at commas and trims spaces.
func (f networksField) set(text string) error {
	texts := strings.Split(text, ",")
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	return f.setList(texts)
}

func (f networksField) setList(texts []string) error {
	if err := checkElements(texts); err != nil {
		return err
	}
	var networks []netip.Prefix
	for i, text := range texts {
		network, err := parseNetwork(text)
		switch {
		case err != nil && len(texts) == 1:
			return err
		case err != nil:
			return fmt.Errorf("element %d of %d %w", i+1, len(texts), err)
		}
		networks = append(networks, network)
	}
	*f.p = networks
	return nil
}

// parseNetwork refuses a network that holds every address: then any sender could name
// another one.
func parseNetwork(text string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(text)
	if address, addressErr := netip.ParseAddr(text); addressErr == nil && address.Zone() == "" {
		network, err = netip.PrefixFrom(address, address.BitLen()), nil
	}
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("is %s: write an address or a network such as 10.0.0.0/8 or 2001:db8::/32", quote(text))
	case network.Bits() == 0:
		return netip.Prefix{}, errors.New("is every address: write those of your proxies alone")
	case network.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("is %s, an IPv4 address in IPv6 form: write it as IPv4", quote(text))
	case network != network.Masked():
		return netip.Prefix{}, fmt.Errorf("is %s, which has bits behind its length: write %s", quote(text), network.Masked())
	}
	return network, nil
}
