package sandbox

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxUsersPerAccount is published with RS013.
const maxUsersPerAccount = 1000

// user is a stored user. The members are those of SaaSquatch's API.
type user struct {
	// fields holds the standard fields by name, id and accountId among them.
	fields   map[string]any
	custom   map[string]any
	segments []string
}

// userPatch is the valid body of a create or upsert, or a valid line of an import.
type userPatch struct {
	ref      userRef
	fields   map[string]any
	custom   map[string]any // nil deletes
	segments []string       // operations, in order
}

// parseUser reads and checks the body of a create or upsert of the user in the path.
func parseUser(r *reader, body []byte, path userRef) (userPatch, *apiError) {
	r.reset(body, "")
	patch, apiErr := readUser(r, "user")
	switch {
	case apiErr != nil:
	case patch.ref.userID != path.userID:
		apiErr = badRequest("/id must be the id in the path")
	case patch.ref.accountID != path.accountID:
		apiErr = badRequest("/accountId must be the id in the path")
	}
	return patch, apiErr
}

// readUser reads a user and checks it by a definition of schema.json.
func readUser(r *reader, definition string) (userPatch, *apiError) {
	object, apiErr := r.readObject(definition)
	if apiErr != nil {
		return userPatch{}, apiErr
	}
	patch := userPatch{ref: userRef{object["accountId"].(string), object["id"].(string)}, fields: object}
	patch.custom, _ = object["customFields"].(map[string]any)
	operations, _ := object["segments"].([]any)
	for _, operation := range operations {
		text, _ := operation.(string) // always a string in a body; ignored in a line
		patch.segments = append(patch.segments, text)
	}
	known := definitions()[definition].schema.Properties
	maps.DeleteFunc(object, func(name string, _ any) bool { return known[name] == nil })
	return patch, nil
}

// serveUser creates, upserts or looks up a user.
func (s *Server) serveUser(t *tenant, a *attempt) answer {
	switch {
	case isBlank([]byte(a.call.accountID)):
		return errBlankAccount.answer(a.scratch)
	case isBlank([]byte(a.call.userID)):
		return errBlankUser.answer(a.scratch)
	}
	only, apiErr := selectedFields(a.request.URL.RawQuery)
	if apiErr != nil {
		return apiErr.answer(a.scratch)
	}
	var patch userPatch
	if a.call.endpoint != lookUpUser {
		patch, apiErr = parseUser(&a.scratch.reader, a.body, userRef{a.call.accountID, a.call.userID})
		if apiErr != nil {
			return apiErr.answer(a.scratch)
		}
	}
	status, body, apiErr := s.storeUser(t, a.call, patch, only)
	if apiErr != nil {
		return apiErr.answer(a.scratch)
	}
	s.counts.Load().users[a.call.endpoint].Add(1)
	return answer{status: status, body: body}
}

// storeUser returns the user as JSON. Unless the call is a look-up, it applies the patch first.
func (s *Server) storeUser(t *tenant, c call, patch userPatch, only []string) (int, []byte, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ref := userRef{c.accountID, c.userID}
	u, status := t.users[ref], http.StatusOK
	switch {
	case c.endpoint == lookUpUser && u == nil:
		return 0, nil, errUserNotFound
	case c.endpoint == createUser && u != nil:
		return 0, nil, errUserExists
	case c.endpoint == createUser:
		status = http.StatusCreated
	}
	u, apiErr := t.upsert(ref, patch)
	if apiErr != nil {
		return 0, nil, apiErr
	}
	return status, u.json(only), nil
}

// upsert applies the patch to a user, and creates the user first if it does not exist. The caller holds the server's
// mutex.
func (t *tenant) upsert(ref userRef, patch userPatch) (*user, *apiError) {
	if apiErr := t.checkTracked(ref); apiErr != nil {
		return nil, apiErr
	}
	u := t.users[ref]
	if u == nil {
		if t.accounts[ref.accountID] >= maxUsersPerAccount {
			return nil, errAccountFull
		}
		u = &user{fields: map[string]any{}, custom: map[string]any{}}
		t.users[ref] = u
		t.accounts[ref.accountID]++
	}
	u.apply(patch)
	return u, nil
}

// apply is a partial update: members that the patch lacks stay as they are. A custom field of null is deleted.
// SaaSquatch documents both of custom fields. Assumed: other fields stay as well.
func (u *user) apply(patch userPatch) {
	maps.Copy(u.fields, patch.fields)
	for name, value := range patch.custom {
		if value == nil {
			delete(u.custom, name)
		} else {
			u.custom[name] = value
		}
	}
	for _, operation := range patch.segments {
		name, remove := strings.CutPrefix(operation, "~")
		switch {
		case operation == "~*":
			u.segments = nil
		case remove:
			u.segments = slices.DeleteFunc(u.segments, func(s string) bool { return s == name })
		case !slices.Contains(u.segments, name):
			u.segments = append(u.segments, name)
		}
	}
}

// json returns the user's fields in the order of their names; all of them if only is nil.
func (u *user) json(only []string) []byte {
	all := maps.Clone(u.fields)
	all["customFields"], all["segments"] = u.custom, append([]string{}, u.segments...)
	if only != nil {
		maps.DeleteFunc(all, func(name string, _ any) bool { return !slices.Contains(only, name) })
	}
	body, _ := json.Marshal(all) // cannot fail: the values come from JSON
	return body
}

// selectedFields reads the query parameter fields, which names the members to answer; nil stands for all. SaaSquatch's
// API definition forbids it beside extraFields. The sandbox has no extra fields.
func selectedFields(rawQuery string) ([]string, *apiError) {
	if rawQuery == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(rawQuery)
	switch {
	case err != nil:
		return nil, badRequest("The query is not valid.")
	case query.Has("fields") && query.Has("extraFields"):
		return nil, badRequest("fields and extraFields exclude each other.")
	case !query.Has("fields"):
		return nil, nil
	}
	return strings.Split(strings.Join(query["fields"], ","), ","), nil
}
