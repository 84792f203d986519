package sandbox

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Import says of the events of an import job which job that was and what of
// SaaSquatch may react to them. The values are those of the job's
// importEvaluationOptions: true, false, or an object that names what may.
type Import struct {
	// Job is the job's id.
	Job       string          `json:"job"`
	Webhooks  json.RawMessage `json:"webhooks"`
	Programs  json.RawMessage `json:"programs"`
	Analytics json.RawMessage `json:"analytics"`
}

// jobParams are the valid params of a job.
type jobParams struct {
	evaluation Import
	segments   []string // operations for every user of the file
}

// parseJobParams judges params, decoded from JSON, for a type of job. It returns
// all faults. The defaults true of webhooks and programs are published, that of
// analytics is assumed, as are that null and unknown params are refused, and that
// segments and programId are for users only.
func parseJobParams(kind jobKind, value any) (jobParams, []string) {
	params := jobParams{evaluation: Import{Webhooks: yes, Programs: yes, Analytics: yes}}
	object, isObject := value.(map[string]any)
	if !isObject {
		return params, []string{"params must be an object."}
	}
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value := object[name]
		switch {
		case name == "importEvaluationOptions":
			faults = append(faults, params.evaluation.read(value)...)
		case name == "segments" && kind == userJob:
			var ok bool
			if params.segments, ok = asTexts(value); !ok {
				faults = append(faults, "params.segments must be an array of strings, none empty.")
			}
		case name == "programId" && kind == userJob:
			if text, ok := value.(string); !ok || text == "" {
				faults = append(faults, "params.programId must be a string.")
			}
		default:
			faults = append(faults, fmt.Sprintf("params.%s is no parameter of %s.", name, kind))
		}
	}
	return params, faults
}

var yes = json.RawMessage("true")

// read reads importEvaluationOptions by SaaSquatch's published schema of jobs:
// each option is a boolean or an object with its one member, and nothing else.
func (i *Import) read(value any) []string {
	const where = "params.importEvaluationOptions"
	object, isObject := value.(map[string]any)
	if !isObject {
		return []string{where + " must be an object."}
	}
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		var (
			target *json.RawMessage
			member string
			valid  = func(v any) bool { _, ok := asTexts(v); return ok }
		)
		switch name {
		case "webhooks":
			target, member = &i.Webhooks, "enabledWebhookTypes"
		case "programs":
			target, member = &i.Programs, "enabledProgramIds"
		case "analytics":
			target, member, valid = &i.Analytics, "enabledAnalyticsEventCollections", areCollections
		default:
			faults = append(faults, fmt.Sprintf("%s.%s is no option.", where, name))
			continue
		}
		_, isBoolean := object[name].(bool)
		chosen, isObject := object[name].(map[string]any)
		list, has := chosen[member]
		if !isBoolean && (!isObject || !has || len(chosen) != 1 || !valid(list)) {
			faults = append(faults, fmt.Sprintf("%s.%s must be true, false or an object with %s.", where, name, member))
			continue
		}
		// What was decoded from JSON marshals.
		*target, _ = json.Marshal(object[name])
	}
	return faults
}

// asTexts returns an array of strings, none of them empty.
func asTexts(value any) ([]string, bool) {
	list, ok := value.([]any)
	texts := make([]string, 0, len(list))
	for _, v := range list {
		text, isText := v.(string)
		ok = ok && isText && text != ""
		texts = append(texts, text)
	}
	return texts, ok
}

func areCollections(value any) bool {
	list, ok := value.([]any)
	for _, v := range list {
		object, isObject := v.(map[string]any)
		name, isText := object["collectionName"].(string)
		ok = ok && isObject && len(object) == 1 && isText && name != ""
	}
	return ok
}
