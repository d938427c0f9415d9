// The action of a form, as JSON text and in its fields. It is kept in the page, so that a step right after a key
// sends what is seen. Each function gets the current (action, text, problem) and returns the next ones.
(() => {
  const equal = (one, other) => JSON.stringify(one) === JSON.stringify(other);
  const written = (action) => JSON.stringify(action, null, 2);
  const escaped = (text) => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);

  // Numbers of JavaScript are exact up to 2**53, and an action is not sent with others than are seen.
  const parsed = (text) =>
    JSON.parse(text, (_, value, context) => {
      if (Number.isInteger(value) && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source)) {
        throw new Error(`${context.source} is too large for an exact number here`);
      }
      return value;
    });

  const problemOf = (error, label) => {
    const text = error instanceof SyntaxError ? `Not JSON yet: ${error.message}` : error.message;
    const shown = escaped(label ? `${label}: ${text}` : text);
    return `<p class="openenv-error openenv-problem" role="alert">${shown}</p>`;
  };

  // A copy of the action with another value at a path; the action itself if the path leads nowhere now.
  const withValue = (action, path, value) => {
    if (!path.length) return value;
    const next = structuredClone(action);
    let place = next;
    for (const step of path.slice(0, -1)) place = place?.[step];
    if (place === null || typeof place !== "object") return action;
    if (value === undefined) delete place[path.at(-1)];
    else place[path.at(-1)] = value;
    return next;
  };
  const at = (action, path) => path.reduce((place, step) => place?.[step], action);

  // Gradio drops a click while a step is pending, so a key that is pressed meanwhile waits for its response.
  const longestStepMs = 10_000;
  let busyUntil = 0;
  let next = null;
  const press = (button) => {
    busyUntil = Date.now() + longestStepMs;
    button.click();
  };

  const drawn = new Set();
  const form = {
    // Whether a change is the first one of a component, to the value that it was drawn with.
    isDrawn(id, value, first) {
      const isFirst = !drawn.has(id);
      drawn.add(id);
      return isFirst && equal(value, first);
    },
    // A field that was edited.
    put(path, value, action, text, problem) {
      const next = withValue(action, path, value);
      return equal(next, action) ? [action, text, problem] : [next, written(next), ""];
    },
    putJson(path, label, value, action, text, problem) {
      try {
        return form.put(path, parsed(value), action, text, "");
      } catch (error) {
        return [action, text, problemOf(error, label)];
      }
    },
    // A whole number that was typed.
    putInteger(path, label, value, action, text, problem) {
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
        return [action, text, problemOf(new Error("This is too large for an exact number here"), label)];
      }
      return form.put(path, value, action, text, "");
    },
    // Changes after which the form has other fields; the last output is what draws it.
    change(path, value, action) {
      const next = withValue(action, path, value);
      return [next, written(next), "", Date.now()];
    },
    add(path, value, action) {
      return form.change(path, [...at(action, path), value], action);
    },
    remove(path, index, action) {
      return form.change(path, at(action, path).filter((_, place) => place !== index), action);
    },
    // The JSON text that was edited.
    edit(text, action, revision) {
      try {
        const next = parsed(text);
        return [next, "", equal(next, action) ? revision : Date.now()];
      } catch (error) {
        return [action, problemOf(error), revision];
      }
    },
    step() {
      document.querySelector("#openenv-step")?.click();
      return [];
    },
    // A step that has its response.
    stepped() {
      const button = next;
      busyUntil = 0;
      next = null;
      if (button) press(button);
      return [];
    },
    // Which move is in the action, for its button.
    mark(path, values, action) {
      values.forEach((value, place) => {
        const button = document.querySelector(`#openenv-move-${place}`);
        button?.setAttribute("aria-pressed", String(equal(value, at(action, path))));
      });
      return [];
    },
  };
  window.openenvForm = form;

  // No step while the text is not JSON: it would send something else than what is seen.
  document.addEventListener(
    "click",
    (event) => {
      if (!event.target.closest?.("#openenv-step, .openenv-move")) return;
      const problem = document.querySelector(".openenv-problem");
      if (!problem) {
        busyUntil = Date.now() + longestStepMs;
        return;
      }
      busyUntil = 0;
      event.stopImmediatePropagation();
      event.preventDefault();
      problem.scrollIntoView({ block: "nearest" });
    },
    true,
  );

  // An editor would keep the Tab key, and who has only a keyboard could not leave it.
  window.addEventListener(
    "keydown",
    (event) => {
      if (event.key === "Tab" && event.target.closest?.(".cm-editor")) event.stopImmediatePropagation();
    },
    true,
  );

  const takesKeys = (element) =>
    element?.isContentEditable ||
    ["INPUT", "TEXTAREA", "SELECT"].includes(element?.tagName) ||
    element?.closest?.("[role=tablist], [role=listbox], [role=slider], [role=dialog]");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return;
    if (takesKeys(event.target)) return;
    const moves = document.querySelector("#openenv-moves [data-keys]");
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const place = moves && JSON.parse(moves.dataset.keys)[key];
    const button = place === undefined ? null : document.querySelector(`#openenv-move-${place}`);
    if (!button?.offsetParent) return;
    event.preventDefault();
    if (Date.now() >= busyUntil) press(button);
    else if (!event.repeat) next = button;
  });
})();
