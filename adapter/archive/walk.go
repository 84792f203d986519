package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// besideLimit bounds the entries beside segment-logs that are reported as passed over. A whole
// bucket may lie there.
const besideLimit = 1000

// Objects yields the objects in the order that the package comment names. It holds the folders of
// days in memory, and one page of their objects. After an error it ends. An error that wraps
// ErrNothing, ErrNoDay or ErrNoSource follows the objects.
func (a *Archive) Objects(ctx context.Context) iter.Seq2[Object, error] {
	passedOver := a.options.PassedOver
	if passedOver == nil {
		passedOver = func(string, string) {}
	}
	return func(yield func(Object, error) bool) { newWalk(ctx, a, passedOver).run(yield) }
}

// walk is one listing of an archive. Its functions return false to end it.
type walk struct {
	ctx        context.Context
	archive    *Archive
	passedOver func(key, reason string)
	yield      func(Object, error) bool

	days    []dayFolder
	named   map[string]*location // by the identity of the object
	yielded map[string]bool      // of those
	visited map[string]bool      // folders, by identity
	sources map[string]bool      // that there are

	// Of the location being walked:
	found   bool     // a log is there, wanted or not
	placed  bool     // something in the layout is there, wanted or not
	noDay   int      // how many logs are not in the layout, although that matters
	first   string   // of these
	skipped []string // the first names that were passed over, with the reasons
}

// maxSkipped bounds the names in an error that were passed over.
const maxSkipped = 3

// dayFolder is the folder of a day, or a named object in one.
type dayFolder struct {
	tree   tree
	folder string
	key    string // the display name, to sort by
	named  *Object
	place  place
}

func newWalk(ctx context.Context, a *Archive, passedOver func(key, reason string)) *walk {
	w := &walk{
		ctx: ctx, archive: a,
		named: make(map[string]*location), yielded: make(map[string]bool), visited: make(map[string]bool),
		sources: make(map[string]bool),
	}
	w.passedOver = func(key, reason string) {
		if reason == passedNoDay {
			if w.noDay++; w.noDay == 1 {
				w.first = key
			}
		}
		if len(w.skipped) < maxSkipped {
			w.skipped = append(w.skipped, key+" ("+reason+")")
		}
		passedOver(key, reason)
	}
	for i, l := range a.locations {
		if l.named != nil {
			w.named[l.named.store.identity(l.named.name)] = &a.locations[i]
		}
	}
	return w
}

func (w *walk) run(yield func(Object, error) bool) {
	w.yield = yield
	var empty []error
	for _, l := range w.archive.locations {
		w.found, w.placed, w.noDay, w.skipped = false, false, 0, nil
		if !w.location(l) {
			return
		}
		if err := w.nothing(l.given); err != nil {
			empty = append(empty, err)
		}
	}
	slices.SortStableFunc(w.days, func(a, b dayFolder) int {
		return cmp.Or(a.place.day.Compare(b.place.day), cmp.Compare(a.place.source, b.place.source),
			cmp.Compare(a.key, b.key))
	})
	for _, d := range w.days {
		next := false
		if d.named != nil {
			next = w.object(*d.named)
		} else {
			next = w.day(d.tree, d.folder, d.place)
		}
		if !next {
			return
		}
	}
	failed := errors.Join(empty...)
	if !errors.Is(failed, ErrNoDay) { // or there is a better reason why sources are missing
		failed = errors.Join(append(empty, w.missingSources()...)...)
	}
	if failed != nil {
		w.yield(Object{}, failed)
	}
}

// nothing returns an error if the walked location has nothing to read. With a mistake in its name
// it would otherwise look like success.
func (w *walk) nothing(given string) error {
	switch {
	case w.noDay > 0 && !w.placed:
		return fmt.Errorf("list %s: %d logs have no received day and no source to compare, the first is %s: %w",
			given, w.noDay, w.first, errNoLayout)
	case w.found:
		return nil
	case len(w.skipped) > 0:
		return fmt.Errorf("list %s: %w, only %s: %s", given, ErrNothing, strings.Join(w.skipped, ", "), whereLogsLie)
	}
	return fmt.Errorf("list %s: %w: %s", given, ErrNothing, whereLogsLie)
}

const whereLogsLie = "logs lie in " + logsFolder +
	"/{source id}/{day}, or anywhere else if the location is not in Segment's layout"

var errNoLayout = fmt.Errorf("%w: leave the day and source filters out, or name a folder that holds "+
	"%s/{source id}/{day}/ or {source id}/{day}/, where the day is Unix time in milliseconds", ErrNoDay, logsFolder)

// location lists the objects outside of the layout, and collects the folders of days.
func (w *walk) location(l location) bool {
	if l.place.copied && l.named == nil {
		// The folder of a backup may have a name like a day.
		isRoot, err := l.tree.holds(w.ctx, l.folder, logsFolder)
		if err != nil {
			w.yield(Object{}, err)
			return false
		}
		if isRoot {
			l.place = place{level: outside}
		}
	}
	if l.place.level >= inSource {
		w.found = true
		w.enterSource(l.place)
	}
	if l.named != nil {
		w.found = true
		if l.place.level == outside {
			return w.object(*l.named)
		}
	}
	if l.place.level != outside {
		if why := w.archive.filter.wants(l.place); why != "" {
			w.passedOver(l.given, why)
			return true
		}
	}
	if l.named != nil {
		w.days = append(w.days, dayFolder{key: l.named.Key, named: l.named, place: l.place})
		return true
	}
	return w.folder(l.tree, l.folder, l.place, true)
}

// folder walks a folder down to the folders of days. It reads the files directly in a named folder
// even where the layout has no logs.
func (w *walk) folder(t tree, folder string, p place, named bool) bool {
	if w.visit(t, folder) {
		return true
	}
	switch p.level {
	case inDay:
		w.found = true
		w.days = append(w.days, dayFolder{tree: t, folder: folder, key: t.shown(folder), place: p})
		return true
	case outside:
		isRoot, err := t.holds(w.ctx, folder, logsFolder)
		if err != nil {
			w.yield(Object{}, err)
			return false
		}
		if isRoot {
			return w.beside(t, folder) && w.folder(t, t.below(folder, logsFolder), place{level: inLogs}, false)
		}
	}
	for e, err := range t.list(w.ctx, folder) {
		if err != nil {
			w.yield(Object{}, err)
			return false
		}
		if !e.folder {
			in := p
			if named {
				in = place{level: outside}
			}
			if !w.file(t, folder, e, in) {
				return false
			}
			continue
		}
		below := t.below(folder, e.name)
		inside, known := p.below(e.name)
		if named && p.level == inSource && e.name == logsFolder {
			inside, known = place{level: inLogs}, true
		}
		if p.level == outside && inside.level == outside {
			if inside, err = w.outside(t, below); err != nil {
				w.yield(Object{}, err)
				return false
			}
		}
		if !w.enter(t.shown(below), e.name, inside, known) {
			continue
		}
		if !w.folder(t, below, inside, false) {
			return false
		}
	}
	return true
}

// outside returns the place of a folder outside of segment-logs: a copied day, unless it is a
// whole archive with the name of a day.
func (w *walk) outside(t tree, folder string) (place, error) {
	p := copiedPlace(strings.Split(strings.Trim(t.path(folder), "/"), "/"))
	if !p.copied {
		return p, nil
	}
	isRoot, err := t.holds(w.ctx, folder, logsFolder)
	if isRoot {
		p = place{level: outside}
	}
	return p, err
}

// enter reports whether a folder is walked.
func (w *walk) enter(folder, name string, p place, known bool) bool {
	switch {
	case isHidden(name):
		w.passedOver(folder, passedHidden)
		return false
	case !known:
		w.passedOver(folder, passedPlace)
		return false
	case p.level == outside: // the layout may be below
		return true
	case p.level == inSource, p.copied:
		w.enterSource(p)
	}
	if w.archive.filter.wants(p) != "" {
		w.found = true
		return false
	}
	return true
}

// enterSource notes a source that exists.
func (w *walk) enterSource(p place) {
	w.placed = true
	if p.source != "" {
		w.sources[p.source] = true
	}
}

// beside reports the entries beside segment-logs.
func (w *walk) beside(t tree, folder string) bool {
	n := 0
	for e, err := range t.list(w.ctx, folder) {
		switch {
		case err != nil:
			w.yield(Object{}, err)
			return false
		case e.name == logsFolder:
			continue
		case e.folder:
			w.passedOver(t.shown(t.below(folder, e.name)), passedBeside)
		case w.namedAs(t, e) == nil:
			w.passedOver(e.object.Key, passedBeside)
		}
		if n++; n == besideLimit {
			break
		}
	}
	return true
}

// day lists the folder of a day, with all folders below.
func (w *walk) day(t tree, folder string, p place) bool {
	for e, err := range t.list(w.ctx, folder) {
		switch {
		case err != nil:
			w.yield(Object{}, err)
			return false
		case !e.folder:
			if !w.file(t, folder, e, p) {
				return false
			}
		case isHidden(e.name):
			w.passedOver(t.shown(t.below(folder, e.name)), passedHidden)
		default:
			below := t.below(folder, e.name)
			if !w.visit(t, below) && !w.day(t, below, p) {
				return false
			}
		}
	}
	return true
}

// visit reports whether a folder has been visited before.
func (w *walk) visit(t tree, folder string) bool {
	id := t.identity(folder)
	if w.visited[id] {
		w.found = true // by the other location
		return true
	}
	w.visited[id] = true
	return false
}

// file handles a file of a listing.
func (w *walk) file(t tree, folder string, e entry, p place) bool {
	if e.object.name == folder && e.object.fault != nil { // the folder cannot be read
		return w.emit(e.object, p)
	}
	if l := w.namedAs(t, e); l != nil {
		w.found = true
		// A file that was named outside the layout comes in the order of locations.
		return l.place.level != inDay || w.archive.filter.wants(l.place) != "" || w.object(*l.named)
	}
	in := p.level
	if p.copied {
		in = outside
	}
	why := passOver(e, in)
	if why == "" {
		w.found = w.found || p.level == outside
		if why = w.archive.filter.wants(p); p.level == inLogs || p.level == inSource {
			why = passedPlace
		}
	}
	if why != "" {
		w.passedOver(e.object.Key, why)
		return true
	}
	return w.emit(e.object, p)
}

// namedAs returns the location that names a listed file, nil if none does.
func (w *walk) namedAs(t tree, e entry) *location {
	if len(w.named) == 0 {
		return nil
	}
	return w.named[t.identity(e.object.name)]
}

// object yields a named object, once.
func (w *walk) object(o Object) bool {
	id := o.store.identity(o.name)
	if w.yielded[id] {
		return true
	}
	w.yielded[id] = true
	return w.yield(o, nil)
}

func (w *walk) emit(o Object, p place) bool {
	w.found = true
	if p.level == inDay {
		o.Source, o.Day = p.source, p.day
	}
	return w.yield(o, nil)
}

// missingSources returns an error if a wanted source does not exist. A mistyped id would otherwise
// read nothing and look like success.
func (w *walk) missingSources() []error {
	var missing []string
	for source := range w.archive.filter.sources {
		if !w.sources[source] {
			missing = append(missing, source)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	there := slices.Sorted(maps.Keys(w.sources))
	if len(there) > 10 {
		there = append(there[:10], "and others")
	}
	return []error{fmt.Errorf("find source %s: %w: there is %s", strings.Join(missing, ", "), ErrNoSource,
		cmp.Or(strings.Join(there, ", "), "none"))}
}
