package archivetest

import (
	"fmt"
	"strings"
)

// These vary as much as in a real log, so that they compress as badly.
var (
	systems = []string{
		"X11; Linux x86_64; rv:128.0", "Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7",
		"iPhone; CPU iPhone OS 18_5 like Mac OS X",
		"Linux; Android 15; Pixel 9", "Linux; Android 14; SM-S921B", "iPad; CPU OS 17_6 like Mac OS X",
		"Windows NT 10.0; WOW64",
	}
	engines = []string{
		"Gecko/20100101 Firefox/%d.0", "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Safari/537.36",
		"AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.%d Mobile/15E148 Safari/604.1",
		"AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 Mobile Safari/537.36 EdgA/128.0",
	}
	zones = []string{"Europe/Amsterdam", "America/New_York", "Asia/Kolkata", "America/Los_Angeles",
		"Australia/Sydney", "Europe/Berlin", "Asia/Tokyo"}
	locales = []string{"en-US", "en-GB", "de-DE", "fr-FR", "ja-JP", "nl-NL", "pt-BR"}
	words   = []string{
		"board", "games", "family", "autumn", "sale", "puzzle", "cards", "new", "classic", "travel", "kids",
		"party", "strategy", "wooden", "chess", "dice",
		"expansion", "set", "limited", "edition", "accessories", "storage", "gift", "ideas", "bestsellers",
		"reviews", "checkout", "account", "orders", "help",
	}
	referrers = []string{"", "https://www.google.com/", "https://duckduckgo.com/", "https://news.example/reviews/",
		"https://m.facebook.com/", "https://shop.example/"}
	nets = []string{"203.0.113", "198.51.100", "192.0.2"} // of documentation, RFC 5737
)

// context makes the context of an event.
func (e *events) context() string {
	path := e.path()
	query := ""
	if e.random.IntN(3) == 0 {
		query = fmt.Sprintf("?utm_source=%s&utm_campaign=%s-%d&gclid=%s", e.word(), e.word(), e.random.IntN(100),
			e.hex(20))
	}
	agent := "Mozilla/5.0 (" + pick(e, systems) + ") " + fmt.Sprintf(pick(e, engines), 90+e.random.IntN(60))
	return fmt.Sprintf(`{"app":{"name":"Shop","version":"2.%d.%d"},"campaign":{"name":"%s-%s","medium":"email"},`+
		`"ip":"%s.%d","library":{"name":"analytics.js","version":"next-1.%d.%d"},"locale":%q,`+
		`"page":{"path":%q,"referrer":%q,"search":%q,"title":"Shop – %s","url":%q},`+
		`"screen":{"height":%d,"width":%d},"timezone":%q,"userAgent":%q}`,
		e.random.IntN(10), e.random.IntN(20), e.word(), e.word(), pick(e, nets), e.random.IntN(256),
		60+e.random.IntN(30), e.random.IntN(5), pick(e, locales),
		path, pick(e, referrers)+e.word(), query, e.word()+" "+e.word(), "https://shop.example"+path+query,
		600+e.random.IntN(1000), 360+e.random.IntN(2000), pick(e, zones), agent)
}

// path makes the path of a page.
func (e *events) path() string {
	var parts []string
	for range 1 + e.random.IntN(3) {
		parts = append(parts, e.word()+"-"+e.word())
	}
	return "/" + strings.Join(parts, "/") + fmt.Sprintf("/%d", e.random.IntN(10_000))
}

func (e *events) word() string { return pick(e, words) }

func pick[T any](e *events, list []T) T { return list[e.random.IntN(len(list))] }
